package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// target is what is put under load: a server with all processes that belong to it.
type target struct {
	name      string
	peer      peer
	processes []process // whose CPU and memory count
	stops     []func() error
}

// peer speaks a server's public wire. Its methods may be called concurrently.
type peer interface {
	// create makes a channel that can be followed and published to.
	create(channel string) error
	// follow opens a connection that gets the messages that are published from now on.
	follow(wire, channel string) (*follower, error)
	// publish sends message n of a channel; they are counted from 1.
	publish(channel string, n int) error
	// rest lets go of what the last calls have left open.
	rest()
}

func start(o *options) (*target, error) {
	if o.On == "nchan" {
		return startNchan()
	}
	return startHark(o.Backends == "shared", o.Nodes, o.Args)
}

// stop ends all that was started, the last first.
func (t *target) stop() error {
	var failed error
	for _, stop := range slices.Backward(t.stops) {
		failed = errors.Join(failed, stop())
	}
	return failed
}

func (t *target) onStop(f func() error) { t.stops = append(t.stops, f) }

// process is one process of a server.
type process struct {
	name string
	pid  int
}

// usage is what each process of a target has used, in seconds of CPU.
type usage []float64

func (t *target) usage() (usage, error) {
	u := make(usage, len(t.processes))
	for i, p := range t.processes {
		var err error
		if u[i], err = p.cpu(); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// less returns what was used since before.
func (u usage) less(before usage) usage {
	used := make(usage, len(u))
	for i := range u {
		used[i] = u[i] - before[i]
	}
	return used
}

// total returns what all processes used together.
func (u usage) total() (sum float64) {
	for _, n := range u {
		sum += n
	}
	return sum
}

// memory returns the bytes that all processes hold.
func (t *target) memory() (float64, error) {
	var sum float64
	for _, p := range t.processes {
		n, err := p.memory()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// memory returns the bytes that the process holds for itself, and its share of what it
// shares with its siblings. What is mapped from files (the program, a store) is the kernel's to drop.
func (p process) memory() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && (fields[0] == "Pss_Anon:" || fields[0] == "Pss_Shmem:") {
			kb, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return 0, err
			}
			sum += kb * 1024
		}
	}
	return sum, nil
}

// cpu returns the seconds of user and system time that the process has used.
func (p process) cpu() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	const userTime, systemTime, ticks = 11, 12, 100
	user, err1 := strconv.ParseFloat(fields[userTime], 64)
	system, err2 := strconv.ParseFloat(fields[systemTime], 64)
	return (user + system) / ticks, errors.Join(err1, err2)
}
