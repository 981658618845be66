//go:build race

package blackbox_test

const raceEnabled = true
