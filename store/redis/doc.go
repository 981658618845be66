// Package redis keeps requests, their events and their indexes in Redis: the store
// of any number of gateways and processors at once.
//
// # Partitions
//
// All keys of a request carry the hash tag of its partition, {pN}, where N is a hash
// of the request's id modulo the number of partitions. A single server or a
// Sentinel group has one partition; a Cluster has more, so that its nodes share the load. The
// number is set when the store is first opened and kept in the store.
//
// # Steps
//
// A step of a request's life takes one or two round trips. The first, a script that only reads,
// fetches the record and the server's time; before a start, where the time is known, two plain
// commands fetch record and input, which costs the server half of that. Then lifecycle.Transition
// runs in this process with that time, which is what the step is stored with. The second, a script
// that writes, checks that the record is the one that was read and stores record, event, indexes,
// result and feeds in one atomic step, publishing to each channel. If somebody else was faster, it
// answers with the newer record, and the step is tried again with that.
//
// Because of that check the first one is left out where the answer is known well enough: before a
// creation, when mostly nothing is there, and before a report of a process that remembers the
// record from its report before. The time is then that of the last answer and what has passed
// since.
//
// Each write carries a token that is kept with what it wrote. A write whose answer
// was lost is sent again by the client, finds its own token, and is not done twice.
//
// So create, start, progress and succeed cost four scripts and two plain commands from the client;
// inside the server they execute a fixed number of further ones (a test holds them to it). A
// notification costs no reading: what is published is the event itself. An event is the record as
// it is after it, in a compact form: it tells of that state whole anyway. So a step hands one
// string to a script, which stores it as record and event and publishes it, and what clients get,
// several times as long, is made of it by who reads it. A body above 64 KiB costs one more command.
// With several partitions a creation, a retry and a release ask the other ones for the position,
// and an event of another partition's feed costs up to three commands to relay, fewer the busier it
// is. Against a single server the commands of concurrent callers travel together, and one script
// makes up to 32 of their steps, each as if it were alone: what a script costs before it does
// anything, and who listens to an owner's feed, is paid and asked once for all of them.
//
// Much of what a script costs is Lua's: each argument and each string that it makes is copied and
// hashed, each function in its text is made anew. So settings stand in the text, rare work is in
// functions that are made when they are called, and an event is joined with its offset in a feed
// only if somebody listens there.
//
// # Feeds
//
// A feed lives in the partition of its name. If that is the request's own, which is always so with
// one partition, the event goes there in the same atomic step. Otherwise it goes to an outbox in
// the request's partition, in that step, and is relayed from there: at once by whoever made the
// step, or by the next Sweep of any process if that one died or could not reach the other
// partition. An outbox is read from its oldest entry on and the receiving partition remembers how
// far it came, so each event gets into a feed once, and those of a request in order.
//
// When a request is forgotten its events become empty in the feeds of its partition. Who reads a
// feed asks whether the requests of the others are there, in one round trip, and tells nothing of
// those that are not. A feed whose last event has aged is dropped, unless somebody listens; one
// that begins again does so behind every offset that was given before.
//
// # Work
//
// With [Options.Queue] the work is queued here: each step that lets a request be worked on puts it
// on the list of its route, in the request's partition and in the same script, and wakes a process
// that waits for it. What is delayed stands in a list by time. A process takes work by a lease
// ([Queue]); what it has taken is in a hash of that lease, so that one command renews the lease
// for all of it, and whoever finds a lease run out puts all of it back. A piece of work is named by
// the ticket that its request got when it began to wait, and so is its message: what is left over
// of an earlier wait is known by that, and dropped when it is taken.
//
// # Notifications
//
// Each process subscribes to the channels that are watched in it and no others. When a
// connection breaks, what was published meanwhile is lost: once subscribed again, the newest
// message of each channel is read and handed on as if it were published, which makes followers
// read what they miss. The same is checked now and then without any sign of a loss.
//
// # The callback exchange
//
// Whoever publishes all events elsewhere has them collected ([Callback]): as long as a flag says
// so, which expires a day after it was last set, each step adds its event to a further stream,
// atomically and whoever makes the step. It stands in the partition of its topic's feed, that of a
// request without a topic in the request's, so what is taken out in order is in the order of the
// feed. One at a time takes from a partition, by a lease; what was published is removed only by who
// still has it.
//
// # Webhooks
//
// All of an owner's endpoints and deliveries live in the partition of the owner's feed, and what
// appends an event to the feed makes its deliveries in the same atomic step. Where that is another
// partition than the request's, that step is the relay of the outbox, so an event that was stored
// has its deliveries when it is in the feed. (Versions of this program without webhooks make none.
// As long as one is running, what it stores or relays is not delivered.) For an owner without an
// endpoint it costs one command.
//
// A delivery waits, is lent, or is settled; each change is one script. Of each endpoint it is known
// when something of it may be claimed, by all rules together, so a Claim looks only at those for
// which that is now, the one that has waited longest first. A lease that has run out is noticed
// then. An endpoint that takes one at a time has only the first of each lane among those that wait;
// the others are set aside when a claim or an event comes upon them, and brought back when the one
// before is settled. A claim is proven by its token; if the answer to a Claim is lost, what it lent
// comes back when the lease ends.
//
// Bodies are kept by digest, counted, once for all deliveries of a partition. Nothing of webhooks
// expires by itself, because what is paused may wait for ever: Sweep forgets what was settled.
//
// # Streams
//
// The bytes of a stream are one string that grows, so that many small appends take no more room
// than one large one; beside it stands what is known of it, and the sum of each 64 KiB, against
// which whatever is read is held. What an append does is decided in this process, on what is known
// of the stream, and one script stores it if that has not been changed meanwhile. That is mostly
// known from the append before, so an append takes one script. Those that come for a stream while
// one is on its way go together in the next one; on a single server, scripts of different streams
// travel, and run, together.
//
// The output of a request is in its partition. The script that appends checks that the request's
// record is the one by which the attempt was let append. The step that ends the request changes
// nothing of its output, which is closed by that; it tells those who follow it.
//
// What is appended is published with its position, at most 256 KiB of it: of more only that it is
// there. Notifications that were missed are found as those of events are. Whether a channel has
// lost its end is told by the bytes that were seen: if the same were appended again, nothing was
// lost.
//
// A fork lives in the partition of its root, together with the count of those that were made of
// each, so that all of them change in one step. Where its name belongs to another partition there
// is a pointer to it.
//
// # What may be lost
//
// With appendonly yes and appendfsync always, nothing that was acknowledged. With appendfsync
// everysec up to about two seconds of changes when the server's machine dies. When only its process
// is killed, those that it answered while the sync of that second was under way: Redis holds its
// writes back for that long, and no longer than two seconds. A failover loses what the replica has
// not got yet (see min-replicas-to-write). What is lost is lost as a whole: a record and its events
// always agree, and offsets have no gaps. But the offsets of lost events are given to others, and a
// follower that has seen the lost ones would take the others for repetitions. So a process
// remembers of each watched channel one message, by offset and the token of its write, and looks
// for it when its connection has been replaced: if it is gone, the listener is told that the end of
// the channel was replaced, and followers get a reset. A client that was away during the failover
// is told so only if the channel ends before its cursor.
package redis
