-- needs: base schedule
return row(ARGV[2])
