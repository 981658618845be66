package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// gateway is the server under load.
type gateway struct {
	addr   string // host:port
	pid    int
	client *http.Client
	stop   func() error
}

func connect(o *options) (*gateway, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	if o.URL != "" {
		if o.PID == 0 {
			return nil, errors.New("--url needs --pid")
		}
		return &gateway{addr: strings.TrimPrefix(o.URL, "http://"), pid: o.PID, client: client, stop: func() error { return nil }}, nil
	}
	g, err := launch(o.Args)
	if err != nil {
		return nil, err
	}
	g.client = client
	return g, nil
}

// launch builds and starts a gateway of our own.
func launch(args []string) (*gateway, error) {
	dir, err := os.MkdirTemp("", "hark-loadtest-")
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "gateway")
	if out, err := exec.Command("go", "build", "-o", binary, "./gateway").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w: %s", err, out)
	}
	args = append([]string{"--listen=127.0.0.1:0", "--data=" + filepath.Join(dir, "data"), "--drain=1s", "--log-level=error"}, args...)
	cmd := exec.Command(binary, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr := regexp.MustCompile(`[0-9.]+:[0-9]+`).FindString(line)
	if addr == "" {
		return nil, fmt.Errorf("gateway did not start: %w: %s", err, line)
	}
	stop := func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		return errors.Join(cmd.Wait(), os.RemoveAll(dir))
	}
	return &gateway{addr: addr, pid: cmd.Process.Pid, stop: stop}, nil
}

// post makes a call and returns the answer's JSON.
func (g *gateway) post(path string, body any, headers ...string) (map[string]any, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+g.addr+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := g.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		return nil, fmt.Errorf("%s: %d %s", path, res.StatusCode, answer)
	}
	var doc map[string]any
	return doc, json.Unmarshal(answer, &doc)
}

// submit submits a request on the default route, which nobody processes by itself.
func (g *gateway) submit(topic string) (id string, err error) {
	body := map[string]any{"content": 1}
	if topic != "" {
		body["topic"] = topic
	}
	doc, err := g.post("/v1/requests", body, "Prefer", "respond-async")
	if err != nil {
		return "", err
	}
	return doc["id"].(string), nil
}

// memory returns the bytes that the gateway's process holds (resident, not shared).
func (g *gateway) memory() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", g.pid))
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(text)) {
		// What is mapped from files (the program, the store) is the kernel's to drop.
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "Anonymous:" {
			kb, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return 0, err
			}
			sum += kb * 1024
		}
	}
	return sum, nil
}

// cpu returns the seconds of user and system time that the gateway has used.
func (g *gateway) cpu() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.pid))
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
