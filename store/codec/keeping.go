package codec

import "time"

// How much of what has happened is kept where nobody says otherwise, in every store.
const (
	History          = 256            // events of a request
	FeedHistory      = 10_000         // events of a topic, and of all of one caller's requests
	FeedRetention    = 24 * time.Hour // of an event there
	WebhookRetention = 7 * 24 * time.Hour
)
