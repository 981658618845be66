//go:build !race

package blackbox_test

const raceEnabled = false
