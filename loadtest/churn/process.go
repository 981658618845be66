package churn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program that can be stopped, killed and started again. Fields are not changed once
// it runs.
type Process struct {
	Name    string
	Addr    string // host:port of a gateway
	Command func() *exec.Cmd
	Ready   func(context.Context) error // waits until it can be used

	ledger *ledger
	mu     sync.Mutex
	cmd    *exec.Cmd
	said   *logs
	deaths []death
}

// death is a time in which a process was about to end, or not there.
type death struct {
	from, to time.Time // to is zero as long as it is not back
}

// PID returns the process id, 0 while it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// start starts the process and waits until it can be used. It does nothing if it runs.
func (p *Process) start(ctx context.Context) error {
	p.mu.Lock()
	if p.cmd != nil {
		p.mu.Unlock()
		return nil
	}
	cmd, said := p.Command(), &logs{name: p.Name, ledger: p.ledger}
	cmd.Stderr = said
	err := cmd.Start()
	if err == nil {
		p.cmd, p.said = cmd, said
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := p.Ready(ready); err != nil {
		return fmt.Errorf("%s is not ready: %w: %s", p.Name, err, said.tail())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.deaths); n > 0 && p.deaths[n-1].to.IsZero() {
		p.deaths[n-1].to = time.Now()
	}
	return nil
}

// signal ends the process by a signal and waits until it is gone.
func (p *Process) signal(s syscall.Signal) {
	p.mu.Lock()
	cmd, said := p.cmd, p.said
	if cmd != nil {
		p.deaths = append(p.deaths, death{from: time.Now()})
	}
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(s)
	// One that hangs while it drains would be waited for forever.
	hung := time.AfterFunc(time.Minute, func() {
		p.ledger.violate("%s has not ended a minute after signal %v", p.Name, s)
		_ = cmd.Process.Kill()
	})
	err := cmd.Wait()
	hung.Stop()
	if s == syscall.SIGTERM && err != nil {
		p.ledger.violate("%s did not end well when it was told to stop: %v: %s", p.Name, err, said.tail())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = nil
}

// end stops the process for good.
func (p *Process) end() { p.signal(syscall.SIGTERM) }

// away reports whether the process was about to end, or not there, at any moment of a time.
func (p *Process) away(from, to time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.deaths {
		if d.from.Before(to) && (d.to.IsZero() || d.to.After(from)) {
			return true
		}
	}
	return false
}

// logs takes what a process says, keeps the end of it, and looks for what must never be said.
type logs struct {
	name   string
	ledger *ledger
	mu     sync.Mutex
	rest   []byte
	last   []string
}

// Write implements [io.Writer].
func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := bytes.Split(append(l.rest, b...), []byte("\n"))
	l.rest = bytes.Clone(lines[len(lines)-1])
	for _, line := range lines[:len(lines)-1] {
		text := string(line)
		if strings.Contains(text, "DATA RACE") || strings.HasPrefix(text, "panic:") || strings.HasPrefix(text, "fatal error:") {
			l.ledger.violate("%s says %s", l.name, text)
		}
		if l.last = append(l.last, text); len(l.last) > 60 {
			l.last = l.last[1:]
		}
	}
	return len(b), nil
}

func (l *logs) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.last, "\n")
}

// disturbProcesses stops and kills gateways and mortal workers, one at a time, and starts them
// again.
func (c *churn) disturbProcesses(ctx context.Context, r *rand.Rand) {
	mortal := append(append([]*Process(nil), c.Gateways...), c.Workers[:c.Mortal]...)
	for turn := 0; pause(ctx, between(r, 2*time.Second, 6*time.Second)); turn++ {
		p := mortal[turn%len(mortal)]
		kind := "workers"
		if p.Addr != "" {
			kind = "gateways"
		}
		if one(r, 2) {
			c.ledger.count(kind + " stopped")
			p.signal(syscall.SIGTERM)
		} else {
			c.ledger.count(kind + " killed")
			p.signal(syscall.SIGKILL)
		}
		pause(ctx, between(r, 0, time.Second))
		if err := p.start(c.lasting); err != nil {
			c.ledger.violate("%v", err)
			return
		}
	}
}

// cut has the proxies close connections of followers.
func (c *churn) cut(ctx context.Context, r *rand.Rand) {
	for pause(ctx, between(r, 200*time.Millisecond, time.Second)) {
		p := c.proxies[r.IntN(len(c.proxies))]
		most := 2
		if one(r, 8) {
			most = 1 << 20
		}
		for range p.cut(most) {
			c.ledger.count("followers cut by the proxy")
		}
	}
}

// errStatus is an answer that was not expected.
var errStatus = errors.New("unexpected answer")
