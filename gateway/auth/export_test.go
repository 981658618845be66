package auth

import "time"

// LookOften has files of keys looked at more often. It must be called before a guard runs.
func LookOften() { lookEvery = 20 * time.Millisecond }
