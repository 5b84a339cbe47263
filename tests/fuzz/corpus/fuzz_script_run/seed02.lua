local n = 0
function init() t = {1, {2}, x = "y"} end
function run(row, p) n = n + 1; p.fields.n = n + #t end