// Package lifecycle is Hark's domain: what a [Request] is, how its [Status] may
// change, which [Event] tells of each change and on which [Channel], and what a
// [Store] must promise so that nothing accepted is lost.
//
// A request is submitted, waits for a processor, is processed in one or more
// attempts, and ends in exactly one way:
//
//	pending ──start──▶ processing ──succeed──▶ succeeded
//	   ▲                  │  │ └────fail─────▶ failed
//	   └──retry/release───┘  └─────cancel────▶ canceled
//	pending, processing ─────────time runs out─▶ expired
//
// Every step is a [Change]. [Transition] is the whole state machine as one pure
// function; a store runs it inside its own atomic step, so that a state never
// changes without its event and no event exists without its state. Whatever the
// machine does not allow is a [*TransitionError].
//
// [Service] is what the HTTP API and the processors call. It adds ownership (a
// [Principal] reads only what it owns), limits, and the hand-over to the queue.
package lifecycle
