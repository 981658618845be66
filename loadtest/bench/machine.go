package bench

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Machine is what was measured on.
type Machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Memory float64 `json:"memory"` // bytes
	Kernel string  `json:"kernel"`
	Go     string  `json:"go"`
}

func (m Machine) String() string {
	return fmt.Sprintf("%d cores of %s, %.0f GB of memory, Linux %s, %s", m.Cores, m.CPU, m.Memory/(1<<30), m.Kernel, m.Go)
}

// Here returns the header of what is measured now, by the program in the working folder.
func Here() Header {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: lineOf("/proc/cpuinfo", "model name"), Kernel: kernel()}
	if m.CPU == "" {
		m.CPU = runtime.GOARCH
	}
	kb, _ := strconv.ParseFloat(strings.TrimSuffix(lineOf("/proc/meminfo", "MemTotal"), " kB"), 64)
	m.Memory = kb * 1024
	// There may be no git.
	commit, _ := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output()
	return Header{Date: time.Now().UTC().Truncate(time.Second), Machine: m, Commit: strings.TrimSpace(string(commit))}
}

// lineOf returns what stands behind a key and a colon in a file, empty if it does not.
func lineOf(path, key string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}
