package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hark-push/hark/loadtest/client"
)

// Hark is a gateway. A channel is that of a request, which is being processed over HTTP;
// a message is a report of its progress.
type Hark struct {
	Addr        string   // of the first gateway
	Addrs       []string // of all
	Everywhere  bool     // whether calls go to all of them in turn
	calls       atomic.Uint32
	client      *client.Client
	Redis, AMQP string   // URLs of the servers behind it, if there are any
	environment []string // that names them
	form        string   // of events

	binary string
	args   []string
	cmd    *exec.Cmd // the gateway that runs
}

// BeforeProgress is how many events a request has before the first report: accepted and started.
const BeforeProgress = 2

func startHark(o *Options) (_ *Target, err error) {
	shared := o.Shared()
	if o.Nodes > 1 && !shared {
		return nil, errors.New("several gateways need --backends=shared, or redis")
	}
	t, h := &Target{Name: "Hark, embedded"}, &Hark{client: client.New(), form: o.Form}
	if shared {
		t.Name = "Hark on " + o.behind()
	}
	program := Build
	if o.Form == formThin {
		t.Name += ", thin form"
	}
	if o.On == "base" {
		if o.Base == "" {
			return nil, errors.New("--on=base needs --base, a folder with programs of another version")
		}
		t.Name += ", base"
		program = func(_, path string, _ ...string) (string, error) {
			name := filepath.Join(o.Base, filepath.Base(path))
			_, err := os.Stat(name)
			return name, err
		}
	}
	t.Peer = h
	defer t.StopUnless(&err)
	dir, err := t.Folder()
	if err != nil {
		return nil, err
	}
	if h.binary, err = program(dir, "./gateway"); err != nil {
		return nil, err
	}
	ports, err := FreePorts(max(o.Nodes, 1))
	if err != nil {
		return nil, err
	}
	for _, port := range ports {
		h.Addrs = append(h.Addrs, "127.0.0.1:"+port)
	}
	h.Addr = h.Addrs[0]
	args := append([]string{
		"--listen=" + h.Addr, "--data=" + dir + "/data", "--drain=1s", "--log-level=error", "--routes=default,echo", "--concurrency=128",
		// All of the load comes from one address.
		"--max-per-address=10000000", "--max-http-per-address=1000000", "--max-calls-per-address=1000000",
		"--webhook-allow-cidrs=127.0.0.0/8", "--webhook-allow-http",
	}, o.Args...)
	if shared {
		s, err := t.ServersOf(o)
		if err != nil {
			return nil, err
		}
		h.Redis, h.AMQP = s.Redis, s.AMQP
		h.environment = s.Environment()
		worker, err := program(dir, "./processor/cmd/worker")
		if err != nil {
			return nil, err
		}
		args = append(args, "--samples=false")
		cmd := exec.Command(worker, "--routes=echo", "--concurrency=128", "--drain=1s")
		cmd.Env = append(os.Environ(), h.environment...)
		if err := t.launch("worker", cmd); err != nil {
			return nil, err
		}
	}
	h.args = args
	t.onStop(h.Stop)
	if err := h.Start(t); err != nil {
		return nil, err
	}
	for _, addr := range h.Addrs[1:] {
		cmd := exec.Command(h.binary, append(slices.Clone(args), "--listen="+addr)...)
		cmd.Env = append(os.Environ(), h.environment...)
		if err := t.run("other gateways", cmd); err != nil {
			return nil, err
		}
		if err := Ready(context.Background(), h.client, addr); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Start starts the gateway, again after a stop, and returns when it is ready.
func (h *Hark) Start(t *Target) error {
	h.cmd = exec.Command(h.binary, h.args...)
	h.cmd.Env = append(os.Environ(), h.environment...)
	h.cmd.Stderr = os.Stderr
	if err := h.cmd.Start(); err != nil {
		return err
	}
	t.Processes = slices.DeleteFunc(t.Processes, func(p Process) bool { return p.Name == "gateway" })
	t.Processes = append(t.Processes, Process{"gateway", h.cmd.Process.Pid})
	return Ready(context.Background(), h.client, h.Addr)
}

// Twin starts another gateway as the first one was started, with further flags, a port and a folder
// of its own, and nothing in common with it: h has the embedded store.
func (h *Hark) Twin(flags ...string) (_ *Target, err error) {
	t := &Target{Name: "a twin"}
	defer t.StopUnless(&err)
	dir, ports, err := t.place(1)
	if err != nil {
		return nil, err
	}
	twin := &Hark{client: client.New(), form: h.form, binary: h.binary, environment: h.environment}
	twin.Addr = "127.0.0.1:" + ports[0]
	twin.Addrs = []string{twin.Addr}
	// Of two flags with one name the last one holds.
	twin.args = append(append(slices.Clone(h.args), flags...), "--listen="+twin.Addr, "--data="+filepath.Join(dir, "data"))
	t.Peer = twin
	t.onStop(twin.Stop)
	if err := twin.Start(t); err != nil {
		return nil, err
	}
	return t, nil
}

// Stop lets the gateway drain and waits for its end.
func (h *Hark) Stop() error {
	if h.cmd == nil {
		return nil
	}
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	err := h.cmd.Wait()
	h.cmd = nil
	return err
}

// Data is the folder of the embedded store.
func (h *Hark) Data() string {
	for _, arg := range h.args {
		if dir, ok := strings.CutPrefix(arg, "--data="); ok {
			return dir
		}
	}
	return ""
}

// Ready waits until a gateway says that all that it needs works, for a minute at most.
func Ready(ctx context.Context, c *client.Client, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := c.Get("http://" + addr + "/health/ready")
		if err == nil {
			return nil
		}
		if !Pause(ctx, 20*time.Millisecond) {
			return fmt.Errorf("the gateway is not ready: %w", errors.Join(err, ctx.Err()))
		}
	}
}

// Post makes a call with a body of JSON, and fails unless that is a success. headers are names and
// values in turn.
func (h *Hark) Post(path string, body any, headers ...string) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return h.send(path, text, headers...)
}

// Get makes a call, and fails unless it is a success.
func (h *Hark) Get(path string) error {
	_, err := h.client.Get("http://" + h.Addr + path)
	return err
}

func (h *Hark) send(path string, body []byte, headers ...string) error {
	addr := h.Addr
	if h.Everywhere {
		addr = h.Addrs[int(h.calls.Add(1))%len(h.Addrs)]
	}
	return client.Post(h.client, "http://"+addr+path, "application/json", body, headers...)
}

// Submit submits a request and returns when it is accepted.
func (h *Hark) Submit(body map[string]any) error {
	return h.Post("/v1/requests", body, "Prefer", "respond-async")
}

// Create submits a request and starts it.
func (h *Hark) Create(channel string) error {
	// Nobody processes the default route by itself.
	if err := h.Submit(map[string]any{"id": channel, "content": 1}); err != nil {
		return err
	}
	return h.Post("/v1/work/"+channel+"/start", nil)
}

// Publish reports progress of a request.
func (h *Hark) Publish(channel string, n int) error {
	return h.send("/v1/work/"+channel+"/progress", fmt.Appendf(nil, `{"percent":%d,"message":"%s"}`, n%100, Padding))
}

// Follow opens a connection that gets the reports on a request from the first one on.
func (h *Hark) Follow(wire, channel string) (*client.Follower, error) {
	f, err := h.Open(wire, "/v1/requests/"+channel+"/events", "request:"+channel)
	if err != nil {
		return nil, err
	}
	// The history comes first; then it is known to follow.
	for range BeforeProgress {
		if _, err := f.Next(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Resume opens a stream of events after an offset.
func (h *Hark) Resume(wire, path string, offset int) (*client.Follower, error) {
	return h.Open(wire, path+"?lastEventId="+strconv.Itoa(offset), "")
}

// Open opens a stream of events, or a socket with a channel.
func (h *Hark) Open(wire, path, channel string) (*client.Follower, error) {
	f, err := client.Dial(h.Addr)
	if err != nil {
		return nil, err
	}
	if wire == "ws" {
		f.Number = func(_, message []byte) (int, bool) { return client.After(message, `"offset":`, BeforeProgress) }
		f.Skip = func(message []byte) bool { return !bytes.HasPrefix(message, []byte(`{"op":"event"`)) }
		return f, f.Socket(h.formed("/v1/ws?channel="+channel), "hark.v1")
	}
	f.Skip = func([]byte) bool { return f.Named } // it is none of the channel
	f.Number = func(id, _ []byte) (int, bool) {
		offset, ok := offsetOf(id)
		return offset - BeforeProgress, ok
	}
	return f, f.Stream(h.formed(path))
}

const formThin = "thin"

// formed returns where the events of a path are in the form that is wanted. Other versions may know
// of none.
func (h *Hark) formed(path string) string {
	if h.form != formThin {
		return path
	}
	if strings.Contains(path, "?") {
		return path + "&form=" + formThin
	}
	return path + "?form=" + formThin
}

// OpenAfter follows a path from an offset on; what it returns numbers messages by their offsets.
func (h *Hark) OpenAfter(wire, path string, offset int64) (*client.Follower, error) {
	f, err := client.Dial(h.Addr)
	if err != nil {
		return nil, err
	}
	path = h.formed(path + "after=" + strconv.FormatInt(offset, 10))
	if wire == "ws" {
		f.Number = func(_, message []byte) (int, bool) { return client.After(message, `"offset":`, 0) }
		f.Skip = func(message []byte) bool { return bytes.HasPrefix(message, []byte(`{"op":"subscribed"`)) }
		err = f.Socket(path, "hark.v1")
	} else {
		f.Skip = func([]byte) bool { return f.Named } // it is none of the channel
		f.Number = func(id, _ []byte) (int, bool) { return offsetOf(id) }
		err = f.Stream(path)
	}
	return f, err
}

// offsetOf returns the offset in the id of a server-sent event, which is followed by the life of
// the request if its id is one that may be used again: 7-k3m9p2q4rz.
func offsetOf(id []byte) (int, bool) {
	digits, _, _ := bytes.Cut(id, []byte("-"))
	offset, err := strconv.Atoi(string(digits))
	return offset, err == nil
}

// Numbers says that the gateway counts the events of a request.
func (*Hark) Numbers() bool { return true }

// Rest closes the connections of calls that are kept.
func (h *Hark) Rest() { h.client.Rest() }

// Padding makes a message about as long as that of the others. It is JSON as it is.
var Padding = strings.Repeat("as many bytes as a message has, for a fair comparison; ", 3)
