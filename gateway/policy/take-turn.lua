-- Takes one turn of a caller, or says how long to wait for the next. However many gateways ask at once, a caller gets at most
-- `burst` turns after a pause and one per `interval` in the long run: the whole decision is this one step, by Redis's clock.
--
-- GCRA: kept is only the time at which the caller's turns taken so far would be used up at the sustained rate. A turn moves
-- it on by one interval and is granted as long as it stays within `burst` intervals from now. A key that has been caught up
-- with says nothing and expires.
--
-- KEYS[1]: the caller's key. ARGV: interval in microseconds, burst.
-- Returns { granted 1 or 0, turns left, microseconds until the next is granted, microseconds until all are back }.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[1])
local room = interval * tonumber(ARGV[2])
local usedUp = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local ahead = usedUp + interval - now
if ahead > room then
  return { 0, 0, math.ceil(ahead - room), math.ceil(usedUp - now) }
end
redis.call('SET', KEYS[1], string.format('%.17g', usedUp + interval), 'PX', math.ceil(ahead / 1000))
return { 1, math.floor((room - ahead) / interval), 0, math.ceil(ahead) }
