package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// The scripts, each with common.lua in front, and behind that what it shares with some others.
var (
	//go:embed scripts/common.lua
	commonScript string
	//go:embed scripts/adopt.lua
	adoptScript string
	//go:embed scripts/age.lua
	ageScript string
	//go:embed scripts/change.lua
	changeScript string
	//go:embed scripts/claim.lua
	claimScript string
	//go:embed scripts/create.lua
	createScript string
	//go:embed scripts/deliveries.lua
	deliveriesScript string
	//go:embed scripts/denote.lua
	denoteScript string
	//go:embed scripts/due.lua
	dueScript string
	//go:embed scripts/exchange_append.lua
	exchangeAppendScript string
	//go:embed scripts/exchange_collect.lua
	exchangeCollectScript string
	//go:embed scripts/exchange_forget.lua
	exchangeForgetScript string
	//go:embed scripts/exchange_lease.lua
	exchangeLeaseScript string
	//go:embed scripts/exchange_release.lua
	exchangeReleaseScript string
	//go:embed scripts/exchange_take.lua
	exchangeTakeScript string
	//go:embed scripts/feeds.lua
	feedsScript string
	//go:embed scripts/handover.lua
	handoverScript string
	//go:embed scripts/forget.lua
	forgetScript string
	//go:embed scripts/hook_claim.lua
	hookClaimScript string
	//go:embed scripts/hook_delete.lua
	hookDeleteScript string
	//go:embed scripts/hook_deliveries.lua
	hookDeliveriesScript string
	//go:embed scripts/hook_delivery.lua
	hookDeliveryScript string
	//go:embed scripts/hook_endpoint.lua
	hookEndpointScript string
	//go:embed scripts/hook_endpoints.lua
	hookEndpointsScript string
	//go:embed scripts/hook_enqueue.lua
	hookEnqueueScript string
	//go:embed scripts/hook_forget.lua
	hookForgetScript string
	//go:embed scripts/hook_hold.lua
	hookHoldScript string
	//go:embed scripts/hook_next.lua
	hookNextScript string
	//go:embed scripts/hook_purge.lua
	hookPurgeScript string
	//go:embed scripts/hook_resend.lua
	hookResendScript string
	//go:embed scripts/hook_settle.lua
	hookSettleScript string
	//go:embed scripts/hook_store.lua
	hookStoreScript string
	//go:embed scripts/keep.lua
	keepScript string
	//go:embed scripts/lead.lua
	leadScript string
	//go:embed scripts/list.lua
	listScript string
	//go:embed scripts/many.lua
	manyScript string
	//go:embed scripts/meta.lua
	metaScript string
	//go:embed scripts/newest.lua
	newestScript string
	//go:embed scripts/probe.lua
	probeScript string
	//go:embed scripts/read.lua
	readScript string
	//go:embed scripts/record.lua
	recordScript string
	//go:embed scripts/relay.lua
	relayScript string
	//go:embed scripts/reply.lua
	replyScript string
	//go:embed scripts/tidy.lua
	tidyScript string
	//go:embed scripts/unclaim.lua
	unclaimScript string
	//go:embed scripts/void.lua
	voidScript string
)

var scripts = struct {
	adopt, age, claim, denote, due, forget, keep, lead, list, meta, newest, probe, read, reply, tidy, unclaim, void *goredis.Script
}{
	adopt: script(adoptScript), age: script(ageScript), claim: script(claimScript), denote: script(denoteScript), due: script(dueScript),
	forget: script(recordScript, forgetScript), keep: script(keepScript), lead: script(leadScript), list: script(recordScript, listScript), meta: script(metaScript),
	newest: script(recordScript, newestScript), probe: script(recordScript, probeScript), read: script(recordScript, readScript),
	reply: script(replyScript), tidy: script(tidyScript), unclaim: script(unclaimScript), void: script(voidScript),
}

// writers are the scripts that append to feeds. A store has its own, with its settings in their text: an argument costs
// the server more each time than a constant does.
type writers struct{ change, create, relay *goredis.Script }

func (s *Store) newWriters() writers {
	keep, feed := s.options.History, s.options.FeedHistory
	feeds := fmt.Sprintf(`local publish, alone, keep, chunk, feed_keep, feed_chunk = '%s', %t, %d, %d, %d, %d
local function handover(...)
%s%s%s%send
%s`, s.publish, s.alone, keep, chunkOf(keep), feed, chunkOf(feed), exchangeLeaseScript, exchangeAppendScript, deliveriesScript, handoverScript, feedsScript)
	return writers{
		change: script(recordScript, feeds, changeScript, manyScript), create: script(recordScript, feeds, createScript, manyScript),
		relay: script(feeds, relayScript),
	}
}

// exchange are the scripts of what is collected for the callback exchange, but for the one that adds to it: that is part
// of the writers.
var exchange = struct{ collect, forget, release, take *goredis.Script }{
	collect: script(exchangeLeaseScript, exchangeCollectScript),
	forget:  script(exchangeForgetScript),
	release: script(exchangeLeaseScript, exchangeReleaseScript),
	take:    script(exchangeLeaseScript, exchangeTakeScript),
}

// hooks are the scripts of the webhooks.
var hooks = struct {
	claim, delete, deliveries, delivery, endpoint, endpoints, enqueue, forget, hold, next, purge, resend, settle, store *goredis.Script
}{
	claim:      script(deliveriesScript, hookClaimScript),
	delete:     script(deliveriesScript, hookDeleteScript),
	deliveries: script(deliveriesScript, hookDeliveriesScript),
	delivery:   script(deliveriesScript, hookDeliveryScript),
	endpoint:   script(deliveriesScript, hookEndpointScript),
	endpoints:  script(deliveriesScript, hookEndpointsScript),
	enqueue:    script(deliveriesScript, hookEnqueueScript),
	forget:     script(deliveriesScript, hookForgetScript),
	hold:       script(deliveriesScript, hookHoldScript),
	next:       script(deliveriesScript, hookNextScript),
	purge:      script(deliveriesScript, hookPurgeScript),
	resend:     script(deliveriesScript, hookResendScript),
	settle:     script(deliveriesScript, hookSettleScript),
	store:      script(deliveriesScript, hookStoreScript),
}

func script(sources ...string) *goredis.Script {
	return goredis.NewScript(commonScript + strings.Join(sources, ""))
}

var errAnswer = errors.New("unexpected answer of a script")

// run runs a script on a partition. A server that does not know it yet is given its
// text. Errors are those of go-redis.
func (s *Store) run(ctx context.Context, script *goredis.Script, partition int, args ...any) ([]any, error) {
	keys := []string{s.tags[partition]}
	if s.pipe != nil {
		var answer *goredis.Cmd
		if err := s.pipe.do(ctx, func(p goredis.Pipeliner) { answer = script.EvalSha(ctx, p, keys, args...) }); err != nil {
			return nil, err
		}
		if !goredis.HasErrorPrefix(answer.Err(), "NOSCRIPT") {
			return answer.Slice()
		}
	}
	return script.Run(ctx, s.client, keys, args...).Slice()
}

// do has a script that does the tasks of many callers do one of this caller, as of a time of the server's, with those of others on
// a single server. Errors are those of go-redis, and what the script says of this task alone.
func (s *Store) do(ctx context.Context, script *goredis.Script, partition int, now time.Time, args ...any) ([]any, error) {
	t := &task{script: script, tag: s.tags[partition], now: micros(now), args: args}
	if s.pipe != nil {
		if err := s.pipe.share(ctx, t); err != nil {
			return nil, err
		}
		if !goredis.HasErrorPrefix(t.err, "NOSCRIPT") {
			return t.answer, t.err
		}
	}
	answers, err := script.Run(ctx, s.client, []string{t.tag}, append([]any{t.now, len(args)}, args...)...).Slice()
	t.take(answers, 0, err)
	return t.answer, t.err
}

// send sends commands in one round trip, with those of others on a single server. Each has its error.
func (s *Store) send(ctx context.Context, add func(goredis.Pipeliner)) error {
	if s.pipe != nil {
		return s.pipe.do(ctx, add)
	}
	_, _ = s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		add(p)
		return nil
	})
	return nil
}

// runAll runs a script on every partition, in one round trip to each server.
func (s *Store) runAll(ctx context.Context, script *goredis.Script, args func(partition int) []any) ([][]any, error) {
	answers, errs := s.runOn(ctx, script, s.all, args)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// runOn runs a script on some partitions, in one round trip to each server. Each has an answer or an error.
func (s *Store) runOn(ctx context.Context, script *goredis.Script, partitions []int, args func(partition int) []any) ([][]any, []error) {
	answers, errs := make([][]any, len(partitions)), make([]error, len(partitions))
	commands := make([]*goredis.Cmd, len(partitions))
	if len(partitions) > 1 {
		_, _ = s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for i, partition := range partitions {
				commands[i] = script.EvalSha(ctx, p, []string{s.tags[partition]}, args(partition)...)
			}
			return nil
		})
	}
	for i, command := range commands {
		if command == nil || goredis.HasErrorPrefix(command.Err(), "NOSCRIPT") {
			answers[i], errs[i] = s.run(ctx, script, partitions[i], args(partitions[i])...)
		} else {
			answers[i], errs[i] = command.Slice()
		}
	}
	return answers, errs
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

// numbers are n integers in an answer, from the i-th on.
func numbers(answer []any, i, n int) ([]int64, error) {
	all := make([]int64, n)
	for j := range all {
		var err error
		if all[j], err = number(answer, i+j); err != nil {
			return nil, err
		}
	}
	return all, nil
}
