-- Stands behind the scripts that do the tasks of many callers: each has a function task, of which this answers the answers. What a
-- script costs before it does anything is paid once for all of them then.
-- ARGV: the server's time in µs, as the callers know it; for each task how many arguments it has, and those. A task that has nothing to tell
-- answers 1, which is less to make than a table, for the reader too.

local answers, failed, at = {}, 0, 2
while at <= #ARGV do
  local last = at + ARGV[at]
  local done, answer = pcall(task, unpack(ARGV, at + 1, last))
  if not done then
    failed = failed + 1
    answer = { 'error', type(answer) == 'table' and answer.err or answer }
  end
  answers[#answers + 1] = answer
  at = last + 1
end
count()
if queued then
  load()
end
if failed == #answers then
  -- What keeps the server from writing does so from the first write on, so it concerns all of them; the client knows what to do about some.
  return redis.error_reply(answers[1][2])
end
return answers
