package redis

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/store/redis/link"
)

// The scripts, each with common.lua in front, and behind that what it shares with some others.
var (
	//go:embed scripts/common.lua
	commonScript string
	//go:embed scripts/all.lua
	allScript string
	//go:embed scripts/adopt.lua
	adoptScript string
	//go:embed scripts/age.lua
	ageScript string
	//go:embed scripts/change.lua
	changeScript string
	//go:embed scripts/attend.lua
	attendScript string
	//go:embed scripts/bury.lua
	buryScript string
	//go:embed scripts/claim.lua
	claimScript string
	//go:embed scripts/create.lua
	createScript string
	//go:embed scripts/deliveries.lua
	deliveriesScript string
	//go:embed scripts/denote.lua
	denoteScript string
	//go:embed scripts/depths.lua
	depthsScript string
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
	//go:embed scripts/hook_all.lua
	hookAllScript string
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
	//go:embed scripts/note.lua
	noteScript string
	//go:embed scripts/pace.lua
	paceScript string
	//go:embed scripts/read.lua
	readScript string
	//go:embed scripts/record.lua
	recordScript string
	//go:embed scripts/relay.lua
	relayScript string
	//go:embed scripts/reply.lua
	replyScript string
	//go:embed scripts/session.lua
	sessionScript string
	//go:embed scripts/snapshot.lua
	snapshotScript string
	//go:embed scripts/review.lua
	reviewScript string
	//go:embed scripts/slots.lua
	slotsScript string
	//go:embed scripts/seek.lua
	seekScript string
	//go:embed scripts/stream_append.lua
	streamAppendScript string
	//go:embed scripts/stream_due.lua
	streamDueScript string
	//go:embed scripts/stream_look.lua
	streamLookScript string
	//go:embed scripts/stream_void.lua
	streamVoidScript string
	//go:embed scripts/stream_write.lua
	streamWriteScript string
	//go:embed scripts/tidy.lua
	tidyScript string
	//go:embed scripts/unclaim.lua
	unclaimScript string
	//go:embed scripts/unlist.lua
	unlistScript string
	//go:embed scripts/void.lua
	voidScript string
	//go:embed scripts/work.lua
	workScript string
	//go:embed scripts/work_held.lua
	workHeldScript string
	//go:embed scripts/work_leave.lua
	workLeaveScript string
	//go:embed scripts/work_pass.lua
	workPassScript string
	//go:embed scripts/work_put.lua
	workPutScript string
	//go:embed scripts/work_return.lua
	workReturnScript string
	//go:embed scripts/work_revive.lua
	workReviveScript string
	//go:embed scripts/work_take.lua
	workTakeScript string
	//go:embed scripts/work_tend.lua
	workTendScript string
	//go:embed scripts/work_there.lua
	workThereScript string
)

var scripts = struct {
	adopt, age, all, attend, bury, claim, denote, depths, due, forget, keep, lead, list, meta, newest, note, pace, read, reply, seek, session, snapshot, tidy, unclaim, void *goredis.Script
}{
	adopt: script(adoptScript), age: script(ageScript), all: script(recordScript, allScript), attend: script(attendScript), bury: script(recordScript, buryScript), claim: script(claimScript), denote: script(denoteScript), depths: script(depthsScript), due: script(dueScript),
	forget: script(recordScript, unlistScript, forgetScript), keep: script(keepScript), lead: script(leadScript), list: script(recordScript, listScript), meta: script(metaScript),
	newest: script(recordScript, newestScript), read: script(recordScript, readScript), reply: script(replyScript), seek: script(seekScript),
	note: script(noteScript), pace: script(paceScript),
	session:  script(sessionScript),
	snapshot: script(recordScript, snapshotScript), tidy: script(unlistScript, tidyScript), unclaim: script(unclaimScript), void: script(voidScript),
}

// slotsFunction is one function around what is rarely needed: to make all those that are in it
// takes longer than a short script.
func slotsFunction() string { return "local function slots(...)\n" + slotsScript + "end\n" }

// writers are the scripts that append to feeds, or queue work. A store has its own, with its
// settings in their text: an argument costs the server more each time than a constant does.
type writers struct{ change, create, relay, review *goredis.Script }

func (s *Store) newWriters() writers {
	keep, feed := s.options.History, s.options.FeedHistory
	feeds := fmt.Sprintf(`local publish, alone, keep, chunk, feed_keep, feed_chunk, trimmed = '%s', %t, %d, %d, %d, %d, %d
local function handover(...)
%s%s%s%send
%s`, s.publish, s.alone, keep, chunkOf(keep), feed, chunkOf(feed), trimmed, exchangeLeaseScript, exchangeAppendScript, deliveriesScript, handoverScript, feedsScript)
	return writers{
		change: script(recordScript, feeds, s.workFunctions(), slotsFunction(), changeScript, manyScript),
		create: script(recordScript, feeds, s.workFunctions(), slotsFunction(), createScript, manyScript),
		relay:  script(feeds, relayScript),
		review: script(recordScript, fmt.Sprintf("local publish, alone = '%s', %t\n", s.publish, s.alone), s.workFunctions(), slotsFunction(), reviewScript),
	}
}

// workFunctions are what steps do to the queue, behind the settings; nothing if the work is queued
// elsewhere.
func (s *Store) workFunctions() string {
	if !s.options.Queue {
		return "local queued = false\n"
	}
	return workScript
}

// works are the scripts of work that is queued in Redis, but for what steps do to it: that is part
// of the writers.
type works struct{ leave, pass, put, back, revive, take, tend *goredis.Script }

func (s *Store) newWorks() works {
	of := func(sources ...string) *goredis.Script {
		settings := fmt.Sprintf("local publish, alone = '%s', %t\n", s.publish, s.alone)
		return script(recordScript, settings, workScript, strings.Join(sources, ""))
	}
	return works{
		leave: of(workHeldScript, workLeaveScript), pass: of(workPassScript), put: of(workThereScript, workPutScript), back: of(workHeldScript, workReturnScript),
		revive: of(workThereScript, workReviveScript), take: of(workHeldScript, workTakeScript), tend: of(workHeldScript, workTendScript),
	}
}

// streamScripts are those of streams that publish nothing, streamWriters those that do.
var streamScripts = struct{ due, look, void *goredis.Script }{
	due: script(streamDueScript), look: script(streamLookScript), void: script(streamVoidScript),
}

// trimmed is up to how many bytes of a stream are stored once more when it is closed, which takes
// the memory back that Redis has set aside for more.
const trimmed = 256 << 10

type streamWriters struct{ append, write *goredis.Script }

func (s *Store) newStreamWriters() streamWriters {
	settings := fmt.Sprintf("local publish, trimmed, most_published = '%s', %d, %d\n", s.publish, trimmed, mostPublished)
	return streamWriters{
		append: script(recordScript, settings, streamAppendScript, manyScript),
		write:  script(recordScript, settings, streamWriteScript),
	}
}

// exchange are the scripts of what is collected for the callback exchange, but for the one that
// adds to it: that is part of the writers.
var exchange = struct{ collect, forget, release, take *goredis.Script }{
	collect: script(exchangeLeaseScript, exchangeCollectScript),
	forget:  script(exchangeForgetScript),
	release: script(exchangeLeaseScript, exchangeReleaseScript),
	take:    script(exchangeLeaseScript, exchangeTakeScript),
}

// hooks are the scripts of the webhooks.
var hooks = struct {
	all, claim, delete, deliveries, delivery, endpoint, endpoints, enqueue, forget, hold, next, purge, resend, settle, store *goredis.Script
}{
	all:        script(hookAllScript),
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

// run runs a script on a partition, see [link.Client.Run].
func (s *Store) run(ctx context.Context, script *goredis.Script, partition int, args ...any) (link.Answer, error) {
	return s.client.Run(ctx, script, s.tags[partition], args...)
}

// runAll runs a script on every partition, in one round trip to each server.
func (s *Store) runAll(ctx context.Context, script *goredis.Script, args func(partition int) []any) ([]link.Answer, error) {
	answers, errs := s.client.RunOn(ctx, script, s.tags, args)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// runOn runs a script on some partitions, in one round trip to each server. Each has an answer or
// an error.
func (s *Store) runOn(ctx context.Context, script *goredis.Script, partitions []int, args func(partition int) []any) ([]link.Answer, []error) {
	tags := make([]string, len(partitions))
	for i, partition := range partitions {
		tags[i] = s.tags[partition]
	}
	return s.client.RunOn(ctx, script, tags, func(i int) []any { return args(partitions[i]) })
}
