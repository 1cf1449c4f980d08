-- wrk: completions of other prompts each time, and how many were refused
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

local threads = {}
local count = 0

function setup(thread)
    thread:set("refused", 0)
    table.insert(threads, thread)
end

function request()
    count = count + 1
    local body = string.format('{"prompt":[%d,%d,300,400],"max_tokens":8,"ignore_eos":true}', 16 + count % 8000, math.random(16, 8000))
    return wrk.format(nil, nil, nil, body)
end

function response(status)
    if status == 429 then
        refused = refused + 1
    end
end

function done()
    local all = 0
    for _, thread in ipairs(threads) do
        all = all + thread:get("refused")
    end
    io.write(string.format("refused with 429: %d\n", all))
end
