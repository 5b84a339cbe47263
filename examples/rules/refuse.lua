-- Brands that a store does not sell any more are not predicted.
function init()
    gone = {[5] = {[9] = true, [10] = true}, [71] = {[2] = true}} -- by store, by brand
end

function run(row, prediction)
    local brands = gone[row.store]
    if brands and brands[row.brand] then
        refuse("store " .. row.store .. " does not sell brand " .. row.brand, "not_sold")
    end
end
