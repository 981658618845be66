package redis

import (
	"context"
	_ "embed"
	"errors"
	"strconv"

	goredis "github.com/redis/go-redis/v9"
)

// The scripts, each with common.lua in front.
var (
	//go:embed scripts/common.lua
	commonScript string
	//go:embed scripts/age.lua
	ageScript string
	//go:embed scripts/change.lua
	changeScript string
	//go:embed scripts/claim.lua
	claimScript string
	//go:embed scripts/collect.lua
	collectScript string
	//go:embed scripts/create.lua
	createScript string
	//go:embed scripts/due.lua
	dueScript string
	//go:embed scripts/forget.lua
	forgetScript string
	//go:embed scripts/list.lua
	listScript string
	//go:embed scripts/meta.lua
	metaScript string
	//go:embed scripts/newest.lua
	newestScript string
	//go:embed scripts/probe.lua
	probeScript string
	//go:embed scripts/read.lua
	readScript string
	//go:embed scripts/relay.lua
	relayScript string
	//go:embed scripts/release.lua
	releaseScript string
	//go:embed scripts/reply.lua
	replyScript string
	//go:embed scripts/take.lua
	takeScript string
	//go:embed scripts/tidy.lua
	tidyScript string
	//go:embed scripts/unclaim.lua
	unclaimScript string
	//go:embed scripts/void.lua
	voidScript string
)

var scripts = struct {
	age, change, claim, collect, create, due, forget, list, meta, newest,
	probe, read, relay, release, reply, take, tidy, unclaim, void *goredis.Script
}{
	age: script(ageScript), change: script(changeScript), claim: script(claimScript), collect: script(collectScript),
	create: script(createScript), due: script(dueScript), forget: script(forgetScript), list: script(listScript),
	meta: script(metaScript), newest: script(newestScript), probe: script(probeScript), read: script(readScript),
	relay: script(relayScript), release: script(releaseScript), reply: script(replyScript), take: script(takeScript),
	tidy: script(tidyScript), unclaim: script(unclaimScript), void: script(voidScript),
}

func script(source string) *goredis.Script { return goredis.NewScript(commonScript + source) }

var errAnswer = errors.New("unexpected answer of a script")

// run runs a script on a partition. A server that does not know it yet is given its
// text. Errors are those of go-redis.
func (s *Store) run(ctx context.Context, script *goredis.Script, partition int, args ...any) ([]any, error) {
	if s.pipe != nil {
		return s.pipe.do(ctx, script, s.tags[partition], args)
	}
	return script.Run(ctx, s.client, []string{s.tags[partition]}, args...).Slice()
}

// runAll runs a script on every partition, in one round trip to each server.
func (s *Store) runAll(ctx context.Context, script *goredis.Script, args func(partition int) []any) ([][]any, error) {
	answers := make([][]any, len(s.tags))
	commands := make([]*goredis.Cmd, len(s.tags))
	if len(s.tags) > 1 {
		_, _ = s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for i, tag := range s.tags {
				commands[i] = script.EvalSha(ctx, p, []string{tag}, args(i)...)
			}
			return nil
		})
	}
	for i, command := range commands {
		var err error
		if command == nil || goredis.HasErrorPrefix(command.Err(), "NOSCRIPT") {
			answers[i], err = s.run(ctx, script, i, args(i)...)
		} else {
			answers[i], err = command.Slice()
		}
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// verdict is the first part of the answer of a script that writes.
func verdict(answer []any) string { return text(answer, 0) }

// text is a string in an answer, "" for nil.
func text(answer []any, i int) string {
	if i >= len(answer) {
		return ""
	}
	s, _ := answer[i].(string)
	return s
}

// number is an integer in an answer.
func number(answer []any, i int) (int64, error) {
	if i < len(answer) {
		switch v := answer[i].(type) {
		case int64:
			return v, nil
		case string:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return n, nil
			}
		}
	}
	return 0, errAnswer
}

// list is a list in an answer.
func list(answer []any, i int) []any {
	if i >= len(answer) {
		return nil
	}
	l, _ := answer[i].([]any)
	return l
}
