package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// hark is a gateway. A channel is that of a request, which is being processed over HTTP;
// a message is a report of its progress.
type hark struct {
	addr        string   // of the first gateway
	addrs       []string // of all
	everywhere  bool     // whether calls go to all of them in turn
	calls       atomic.Uint32
	client      *client
	redis, amqp string   // URLs of the servers behind it, if there are any
	environment []string // that names them

	binary string
	args   []string
	cmd    *exec.Cmd // the gateway that runs
}

// The offsets of a request's events before the first report: accepted and started.
const beforeProgress = 2

func startHark(shared bool, nodes int, args []string) (_ *target, err error) {
	if nodes > 1 && !shared {
		return nil, errors.New("several gateways need --backends=shared")
	}
	t, h := &target{name: "Hark, embedded"}, &hark{client: newClient()}
	t.peer = h
	defer t.stopUnless(&err)
	dir, err := t.folder()
	if err != nil {
		return nil, err
	}
	if h.binary, err = build(dir, "./gateway"); err != nil {
		return nil, err
	}
	ports, err := freePorts(max(nodes, 1))
	if err != nil {
		return nil, err
	}
	for _, port := range ports {
		h.addrs = append(h.addrs, "127.0.0.1:"+port)
	}
	h.addr = h.addrs[0]
	args = append([]string{
		"--listen=" + h.addr, "--data=" + dir + "/data", "--drain=1s", "--log-level=error", "--routes=default,echo", "--concurrency=128",
		"--max-per-address=10000000", "--max-http-per-address=1000000", "--max-calls-per-address=1000000", // all of the load comes from one
		"--webhook-allow-cidrs=127.0.0.0/8", "--webhook-allow-http",
	}, args...)
	if shared {
		t.name = "Hark on Redis and RabbitMQ"
		s, err := t.servers("epmd rabbitmq redis")
		if err != nil {
			return nil, err
		}
		h.redis, h.amqp = s.redis, s.amqp
		h.environment = []string{"HARK_REDIS=" + s.redis, "HARK_AMQP=" + s.amqp}
		worker, err := build(dir, "./processor/cmd/worker")
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
	t.onStop(h.stop)
	if err := h.start(t); err != nil {
		return nil, err
	}
	for _, addr := range h.addrs[1:] {
		cmd := exec.Command(h.binary, append(slices.Clone(args), "--listen="+addr)...)
		cmd.Env = append(os.Environ(), h.environment...)
		if err := t.run("other gateways", cmd); err != nil {
			return nil, err
		}
		if err := ready(context.Background(), h.client, addr); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// start starts the gateway, again after a stop, and returns when it is ready.
func (h *hark) start(t *target) error {
	h.cmd = exec.Command(h.binary, h.args...)
	h.cmd.Env = append(os.Environ(), h.environment...)
	h.cmd.Stderr = os.Stderr
	if err := h.cmd.Start(); err != nil {
		return err
	}
	t.processes = slices.DeleteFunc(t.processes, func(p process) bool { return p.name == "gateway" })
	t.processes = append(t.processes, process{"gateway", h.cmd.Process.Pid})
	return ready(context.Background(), h.client, h.addr)
}

// stop lets the gateway drain and waits for its end.
func (h *hark) stop() error {
	if h.cmd == nil {
		return nil
	}
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	err := h.cmd.Wait()
	h.cmd = nil
	return err
}

// data is the folder of the embedded store.
func (h *hark) data() string {
	for _, arg := range h.args {
		if dir, ok := strings.CutPrefix(arg, "--data="); ok {
			return dir
		}
	}
	return ""
}

// ready waits until a gateway says that all that it needs works, for a minute at most.
func ready(ctx context.Context, c *client, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := c.get("http://" + addr + "/health/ready")
		if err == nil {
			return nil
		}
		if !pause(ctx, 20*time.Millisecond) {
			return fmt.Errorf("the gateway is not ready: %w", errors.Join(err, ctx.Err()))
		}
	}
}

func (h *hark) post(path string, body any, headers ...string) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return h.send(path, text, headers...)
}

func (h *hark) send(path string, body []byte, headers ...string) error {
	addr := h.addr
	if h.everywhere {
		addr = h.addrs[int(h.calls.Add(1))%len(h.addrs)]
	}
	return post(h.client, "http://"+addr+path, "application/json", body, headers...)
}

// submit submits a request and returns when it is accepted.
func (h *hark) submit(body map[string]any) error {
	return h.post("/v1/requests", body, "Prefer", "respond-async")
}

func (h *hark) create(channel string) error {
	// Nobody processes the default route by itself.
	if err := h.submit(map[string]any{"id": channel, "content": 1}); err != nil {
		return err
	}
	return h.post("/v1/work/"+channel+"/start", nil)
}

func (h *hark) publish(channel string, n int) error {
	return h.send("/v1/work/"+channel+"/progress", fmt.Appendf(nil, `{"percent":%d,"message":"%s"}`, n%100, padding))
}

func (h *hark) follow(wire, channel string) (*follower, error) {
	f, err := h.open(wire, "/v1/requests/"+channel+"/events", "request:"+channel)
	if err != nil {
		return nil, err
	}
	// The history comes first; then it is known to follow.
	for range beforeProgress {
		if _, err := f.next(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// resume opens a stream of events after an offset.
func (h *hark) resume(wire, path string, offset int) (*follower, error) {
	return h.open(wire, path+"?lastEventId="+strconv.Itoa(offset), "")
}

// open opens a stream of events, or a socket with a channel.
func (h *hark) open(wire, path, channel string) (*follower, error) {
	f, err := dial(h.addr)
	if err != nil {
		return nil, err
	}
	if wire == "ws" {
		f.number = func(_, message []byte) (int, bool) { return after(message, `"offset":`, beforeProgress) }
		f.skip = func(message []byte) bool { return !bytes.HasPrefix(message, []byte(`{"op":"event"`)) }
		return f, f.socket("/v1/ws?channel="+channel, "hark.v1")
	}
	f.skip = func([]byte) bool { return f.named } // it is none of the channel
	f.number = func(id, _ []byte) (int, bool) {
		offset, ok := offsetOf(id)
		return offset - beforeProgress, ok
	}
	return f, f.stream(path)
}

// openAfter follows a path from an offset on; what it returns numbers messages by their offsets.
func (h *hark) openAfter(wire, path string, offset int64) (*follower, error) {
	f, err := dial(h.addr)
	if err != nil {
		return nil, err
	}
	path += "after=" + strconv.FormatInt(offset, 10)
	if wire == "ws" {
		f.number = func(_, message []byte) (int, bool) { return after(message, `"offset":`, 0) }
		f.skip = func(message []byte) bool { return bytes.HasPrefix(message, []byte(`{"op":"subscribed"`)) }
		err = f.socket(path, "hark.v1")
	} else {
		f.skip = func([]byte) bool { return f.named } // it is none of the channel
		f.number = func(id, _ []byte) (int, bool) { return offsetOf(id) }
		err = f.stream(path)
	}
	return f, err
}

// offsetOf returns the offset in the id of a server-sent event, which is followed by the life of the request if its id is one
// that may be used again: 7-k3m9p2q4rz.
func offsetOf(id []byte) (int, bool) {
	digits, _, _ := bytes.Cut(id, []byte("-"))
	offset, err := strconv.Atoi(string(digits))
	return offset, err == nil
}

func (*hark) numbers() bool { return true }

func (h *hark) rest() { h.client.rest() }

// padding makes a message about as long as that of the others. It is JSON as it is.
var padding = strings.Repeat("as many bytes as a message has, for a fair comparison; ", 3)
