-- A store orders at least one pack and at most what its shelf takes; the answer says when that changed it.
local least, most = 6, 14 -- logarithms of units, as the fleet predicts them

function run(row, prediction)
    local value = math.min(math.max(prediction.value, least), most)
    prediction.fields.clamped = value ~= prediction.value
    prediction.value = value
end
