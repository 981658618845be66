package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

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

// cpu returns the seconds of user and system time that the process has used, of all its
// threads. The kernel keeps it in nanoseconds on a clock of the process, while /proc counts ticks of 10 ms.
func (p process) cpu() (float64, error) {
	const schedule = 2 // CPUCLOCK_SCHED; see clock_getcpuclockid(3)
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^p.pid<<3|schedule), &used); err != nil {
		return 0, fmt.Errorf("CPU of %s: %w", p.name, err)
	}
	return float64(used.Nano()) / 1e9, nil
}
