"""What Redis is asked to do in one step, as Lua. Keys and values are described in docs/fleet.md.

ARGV[1] is always the prefix of all keys, and ARGV[2] the id of the proxy that asks. Sessions go by the keyed hash of
their endpoint and id. All keys are made from the prefix in here: a cluster, which wants to know them before, can't be
used.
"""

from __future__ import annotations

_COMMON = """
local P, me = ARGV[1], ARGV[2]
local function session(h) return P .. ':s:' .. h end
local function lease(h) return P .. ':l:' .. h end
local function owned(id) return P .. ':of:' .. id end
local function have(h)
  local before = redis.call('HGET', session(h), 'proxy')
  if before ~= me then
    if before then redis.call('SREM', owned(before), h) end
    redis.call('SREM', P .. ':free', h)
    redis.call('HSET', session(h), 'proxy', me)
    redis.call('SADD', owned(me), h)
  end
end
-- Note that this proxy sees a session from now on: the others are told, once.
local function join(h)
  if redis.call('HSETNX', session(h), 'v:' .. me, '') == 1 then
    redis.call('PUBLISH', P .. ':news', h .. ' ' .. me)
  end
end
local function read(h, now, silence)
  return {redis.call('HGETALL', session(h)), redis.call('ZRANGEBYSCORE', P .. ':seen', now - silence, '+inf'),
    redis.call('GET', lease(h))}
end
"""

_WRITE = """
-- Remember a row; 0 if what is stored is ahead of it, in which case only the view is remembered. In ARGV, from `at` on:
-- hash, time, milliseconds it lives, generation, when it was opened, mark, server's id, row, view, sealed, and whether
-- its opening was not seen: then a row of a proxy that has seen it is left as it is.
local function write(at)
  local h, ttl, generation, mark, view, sealed =
    ARGV[at], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 5], ARGV[at + 8], ARGV[at + 9]
  local key = session(h)
  local old = redis.call('HMGET', key, 'generation', 'mark', 'over', 'guessed')
  local known = tonumber(old[1]) or -1
  local guessed = ARGV[at + 10]
  if old[3] then
    if generation <= known and tonumber(ARGV[at + 4]) <= tonumber(old[3]) then return 0 end
    redis.call('DEL', key)
    known = -1
  end
  local joined = false
  if view ~= '' then
    joined = redis.call('HSET', key, 'v:' .. me, view) == 1
    if redis.call('HLEN', key) > 40 then
      for _, field in ipairs(redis.call('HKEYS', key)) do
        if string.sub(field, 1, 2) == 'v:' and not redis.call('ZSCORE', P .. ':seen', string.sub(field, 3)) then
          redis.call('HDEL', key, field)
        end
      end
    end
  end
  local stands = generation >= known and not (generation == known and guessed == '1' and old[4] == '0')
  if stands then
    redis.call('HSET', key, 'row', ARGV[at + 7], 'generation', generation, 'mark', mark, 'server', ARGV[at + 6],
      'guessed', guessed)
    if sealed ~= '' then redis.call('HSET', key, 'sealed', sealed) end
    have(h)
    if old[2] ~= mark or joined then redis.call('PUBLISH', P .. ':news', h .. ' ' .. me) end
  end
  redis.call('PEXPIRE', key, ttl)
  return stands and 1 or 0
end
"""

HEARTBEAT = (
    _COMMON
    + """
-- This proxy lives: its description, the time. Who else there is, when each was heard of, and who was.
redis.call('HSET', P .. ':proxies', me, ARGV[3])
redis.call('ZADD', P .. ':seen', ARGV[4], me)
return {redis.call('HGETALL', P .. ':proxies'), redis.call('ZRANGE', P .. ':seen', 0, -1, 'WITHSCORES')}
"""
)

BURY = (
    _COMMON
    + """
-- A proxy has left, or is dead: what was its is free. Its id. Views of it are kept; nobody counts them as living.
local id = ARGV[3]
redis.call('HDEL', P .. ':proxies', id)
redis.call('ZREM', P .. ':seen', id)
redis.call('SUNIONSTORE', P .. ':free', P .. ':free', owned(id))
redis.call('DEL', owned(id))
return 1
"""
)

TAKE = (
    _COMMON
    + """
-- Take a session that nobody has; nothing if somebody else was faster. Its hash, the time, the silence of the dead.
local h = ARGV[3]
if redis.call('SREM', P .. ':free', h) == 0 then return false end
if redis.call('HEXISTS', session(h), 'row') == 0 then return false end
have(h)
join(h)
return read(h, tonumber(ARGV[4]), tonumber(ARGV[5]))
"""
)

CLAIM = (
    _COMMON
    + """
-- Have a session, whoever has it. Its hash, the time, the silence of the dead.
local h = ARGV[3]
if redis.call('HEXISTS', session(h), 'row') == 0 then return false end
have(h)
join(h)
return read(h, tonumber(ARGV[4]), tonumber(ARGV[5]))
"""
)

READ = _COMMON + "return read(ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))"

WRITE = _COMMON + _WRITE + "return write(3)"

FORGET = (
    _COMMON
    + """
-- A session is over: its hash, the time, for how long that is remembered, whether its client has ended it.
local h = ARGV[3]
local key = session(h)
local old = redis.call('HMGET', key, 'proxy', 'generation', 'over')
if old[3] then return 0 end
redis.call('DEL', key)
redis.call('SREM', P .. ':free', h)
if old[1] then redis.call('SREM', owned(old[1]), h) end
redis.call('HSET', key, 'over', ARGV[4], 'generation', old[2] or 0, 'left', ARGV[6], 'by', me)
redis.call('PEXPIRE', key, ARGV[5])
redis.call('PUBLISH', P .. ':news', h .. ' ' .. me)
return 1
"""
)

DROP = (
    _COMMON
    + """
-- This proxy has no room for a session: its hash. What others know of it stays.
local h = ARGV[3]
if redis.call('HGET', session(h), 'proxy') ~= me then return 0 end
for _, field in ipairs(redis.call('HKEYS', session(h))) do
  if string.sub(field, 1, 2) == 'v:' and field ~= 'v:' .. me then return 0 end
end
redis.call('DEL', session(h))
redis.call('SREM', owned(me), h)
return 1
"""
)

LEASE = (
    _COMMON
    + """
-- Be the one that acts in a session's place: its hash, a token, milliseconds, the time, the silence of the dead.
-- First whether that is so, then what the last one to try was told, then what is known of the session.
local h, mine = ARGV[3], me .. ' ' .. ARGV[4]
local failed = redis.call('GET', P .. ':f:' .. h)
local granted = 0
if not failed and (redis.call('SET', lease(h), mine, 'NX', 'PX', ARGV[5]) or redis.call('GET', lease(h)) == mine) then
  granted = 1
end
return {granted, failed, read(h, tonumber(ARGV[6]), tonumber(ARGV[7]))}
"""
)

RENEW = (
    _COMMON
    + """
-- Go on being that one: hash, token, milliseconds.
if redis.call('GET', lease(ARGV[3])) ~= me .. ' ' .. ARGV[4] then return 0 end
return redis.call('PEXPIRE', lease(ARGV[3]), ARGV[5])
"""
)

RELEASE = (
    _COMMON
    + """
-- Be that one no more: hash, token, why it failed (or nothing), for how many milliseconds nobody need try.
local h = ARGV[3]
if redis.call('GET', lease(h)) ~= me .. ' ' .. ARGV[4] then return 0 end
redis.call('DEL', lease(h))
if ARGV[5] ~= '' then redis.call('SET', P .. ':f:' .. h, ARGV[5], 'PX', ARGV[6]) end
redis.call('PUBLISH', P .. ':news', h .. ' ' .. me)
return 1
"""
)

COMMIT = (
    _COMMON
    + _WRITE
    + """
-- Enter what a handshake came to, and release the lease: token, the silence of the dead, then as for `WRITE`.
-- Not if another proxy has the lease by now, or has had it and was faster.
local h, holder = ARGV[5], redis.call('GET', lease(ARGV[5]))
local held = holder == me .. ' ' .. ARGV[3]
local known = tonumber(redis.call('HGET', session(h), 'generation')) or -1
if (holder and not held) or (not held and known >= tonumber(ARGV[8])) or write(5) == 0 then
  return {0, read(h, tonumber(ARGV[6]), tonumber(ARGV[4]))}
end
if held then redis.call('DEL', lease(h)) end
redis.call('PUBLISH', P .. ':news', h .. ' ' .. me)
return {1}
"""
)

SPEAK = (
    _COMMON
    + """
-- Have all who have seen a session say what they know: its hash, a name for the question.
return redis.call('PUBLISH', P .. ':news', ARGV[3] .. ' ' .. me .. ' ' .. ARGV[4])
"""
)

ANSWER = (
    _COMMON
    + """
-- Say what this proxy knows of a session: its hash, the name of the question, the view, or nothing.
local h = ARGV[3]
if ARGV[5] == '' then
  redis.call('HDEL', session(h), 'v:' .. me)
elseif redis.call('HEXISTS', session(h), 'row') == 1 then
  redis.call('HSET', session(h), 'v:' .. me, ARGV[5])
end
redis.call('SADD', P .. ':a:' .. ARGV[4], me)
return redis.call('PEXPIRE', P .. ':a:' .. ARGV[4], 10000)
"""
)
