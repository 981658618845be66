package peer

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is one process of a server.
type Process struct {
	Name string
	PID  int
}

// Usage is what each process of a target has used, in seconds of CPU.
type Usage []float64

// Usage returns what each process has used so far.
func (t *Target) Usage() (Usage, error) {
	u := make(Usage, len(t.Processes))
	for i, p := range t.Processes {
		var err error
		if u[i], err = p.cpu(); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// Less returns what was used since before.
func (u Usage) Less(before Usage) Usage {
	used := make(Usage, len(u))
	for i := range u {
		used[i] = u[i] - before[i]
	}
	return used
}

// Total returns what all processes used together.
func (u Usage) Total() (sum float64) {
	for _, n := range u {
		sum += n
	}
	return sum
}

// Memory returns the bytes that all processes hold.
func (t *Target) Memory() (float64, error) {
	var sum float64
	for _, p := range t.Processes {
		n, err := p.Memory()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// Memory returns the bytes that the process holds for itself, and its share of what it shares with
// its siblings. What is mapped from files (the program, a store) is the kernel's to drop.
func (p Process) Memory() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID))
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

// cpu returns the seconds of user and system time that the process has used, of all its threads.
// The kernel keeps it in nanoseconds on a clock of the process, while /proc counts ticks of 10 ms.
func (p Process) cpu() (float64, error) {
	const schedule = 2 // CPUCLOCK_SCHED; see clock_getcpuclockid(3)
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^p.PID<<3|schedule), &used); err != nil {
		return 0, fmt.Errorf("CPU of %s: %w", p.Name, err)
	}
	return float64(used.Nano()) / 1e9, nil
}
