-- needs: base schedules
-- args: id
return row(id)
