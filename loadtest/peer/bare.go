package peer

import (
	"os/exec"
	"strconv"

	"github.com/hark-push/hark/loadtest/client"
)

// bare is the floor: a loop of write(2) over raw connections, and nothing else. See loadtest/bare.
type bare struct {
	addr   string
	client *client.Client
}

func startBare(bytes int) (_ *Target, err error) {
	t := &Target{Name: "a bare loop of writes, " + strconv.Itoa(bytes) + " bytes each"}
	defer t.StopUnless(&err)
	dir, err := t.Folder()
	if err != nil {
		return nil, err
	}
	binary, err := Build(dir, "./loadtest/bare")
	if err != nil {
		return nil, err
	}
	ports, err := FreePorts(1)
	if err != nil {
		return nil, err
	}
	b := &bare{addr: "127.0.0.1:" + ports[0], client: client.New()}
	t.Peer = b
	if err := t.run("bare", exec.Command(binary, b.addr, strconv.Itoa(bytes))); err != nil {
		return nil, err
	}
	return t, reachable(b.addr)
}

// Create does nothing: a channel is there when it is followed.
func (b *bare) Create(string) error { return nil }

func (b *bare) Follow(wire, channel string) (*client.Follower, error) {
	f, err := client.Dial(b.addr)
	if err != nil {
		return nil, err
	}
	f.Number = func(_, message []byte) (int, bool) { return client.After(message, `"n":`, 0) }
	if wire == "ws" {
		return f, f.Socket("/"+channel, "")
	}
	return f, f.Stream("/" + channel)
}

func (b *bare) Publish(channel string, n int) error {
	return client.Post(b.client, "http://"+b.addr+"/"+channel+"/"+strconv.Itoa(n), "application/json", nil)
}

func (*bare) Numbers() bool { return false }

func (b *bare) Rest() { b.client.Rest() }
