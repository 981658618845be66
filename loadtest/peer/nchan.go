package peer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hark-push/hark/loadtest/client"
)

// nchan is nginx with its nchan module.
type nchan struct {
	addr   string
	client *client.Client
	bytes  int // of a message
}

// nchanModule is where Debian puts the module.
const nchanModule = "/usr/lib/nginx/modules/ngx_nchan_module.so"

const nchanConfig = `daemon off;
pid %[1]s/nginx.pid;
error_log stderr crit;
worker_processes 1;
worker_rlimit_nofile 20000;
load_module ` + nchanModule + `;
events { worker_connections 19500; }
http {
	access_log off;
	nchan_shared_memory_size 512M;
	server {
		listen %[2]s backlog=4096;
		client_body_temp_path %[1]s/body;
		keepalive_requests 100000000;
		location ~ ^/publish/([\w-]+)$ { nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length %[3]d; nchan_message_timeout %[4]s; }
		location ~ ^/follow/([\w-]+)$ { nchan_subscriber eventsource websocket; nchan_channel_id $1; nchan_subscriber_first_message newest;
			nchan_websocket_ping_interval 25; nchan_eventsource_ping_interval 25; nchan_eventsource_ping_event ""; nchan_eventsource_ping_data ""; nchan_eventsource_ping_comment heartbeat; }
	}
}
`

func startNchan(bytes int) (_ *Target, err error) {
	t := &Target{Name: "nchan, one worker process"}
	defer t.StopUnless(&err)
	nginx, err := installed("nginx", "it with its nchan module (Debian: nginx-light libnginx-mod-nchan)")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(nchanModule); err != nil {
		return nil, fmt.Errorf("nchan is not installed (Debian: libnginx-mod-nchan): %w", err)
	}
	dir, ports, err := t.place(1)
	if err != nil {
		return nil, err
	}
	n := &nchan{addr: "127.0.0.1:" + ports[0], client: client.New(), bytes: bytes}
	t.Peer = n
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(nchanConfig, dir, n.addr, historySize, historyTTL)
	if os.Getuid() == 0 { // else it gives its processes away to a user who cannot read the folder
		text = "user root;\n" + text
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(nginx, "-p", dir, "-c", config, "-e", "stderr")
	if err := t.run("nginx", cmd); err != nil {
		return nil, err
	}
	if err := reachable(n.addr); err != nil {
		return nil, err
	}
	return t, t.addChildren(cmd.Process.Pid)
}

// addChildren adds the processes that another one starts.
func (t *Target) addChildren(pid int) error {
	var text []byte
	for deadline := time.Now().Add(10 * time.Second); len(text) == 0; time.Sleep(10 * time.Millisecond) {
		var err error
		if text, err = os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("it has no worker processes")
		}
	}
	for field := range strings.FieldsSeq(string(text)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		t.Processes = append(t.Processes, Process{"worker", child})
	}
	return nil
}

// Create does nothing: a channel is there when it is used.
func (n *nchan) Create(string) error { return nil }

func (n *nchan) Follow(wire, channel string) (*client.Follower, error) {
	f, err := client.Dial(n.addr)
	if err != nil {
		return nil, err
	}
	f.Number = func(_, message []byte) (int, bool) { return client.After(message, `"n":`, 0) }
	if wire == "ws" {
		return f, f.Socket("/follow/"+channel, "")
	}
	return f, f.Stream("/follow/" + channel)
}

func (n *nchan) Publish(channel string, number int) error {
	return client.Post(n.client, "http://"+n.addr+"/publish/"+channel, "application/json", Payload(number, n.bytes))
}

func (*nchan) Numbers() bool { return false }

func (n *nchan) Rest() { n.client.Rest() }

// Payload is a message of so many bytes.
func Payload(n, length int) []byte {
	message := fmt.Appendf(nil, `{"n":%d,"message":"`, n)
	for len(message) < length-2 {
		message = append(message, Padding[len(message)%len(Padding)])
	}
	return append(message, `"}`...)
}
