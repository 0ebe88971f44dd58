-- needs: base
return NOW
