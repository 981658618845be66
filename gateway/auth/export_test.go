package auth

import "time"

// PollOften has files of keys polled more often. It must be called before a guard runs.
func PollOften() { pollEvery = 20 * time.Millisecond }
