package main

import (
	"os/exec"
	"strconv"
)

// bare is the floor: a loop of write(2) over raw connections, and nothing else. See loadtest/bare.
type bare struct {
	addr   string
	client *client
}

func startBare(bytes int) (_ *target, err error) {
	t := &target{name: "a bare loop of writes, " + strconv.Itoa(bytes) + " bytes each"}
	defer t.stopUnless(&err)
	dir, err := t.folder()
	if err != nil {
		return nil, err
	}
	binary, err := build(dir, "./loadtest/bare")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	b := &bare{addr: "127.0.0.1:" + ports[0], client: newClient()}
	t.peer = b
	if err := t.run("bare", exec.Command(binary, b.addr, strconv.Itoa(bytes))); err != nil {
		return nil, err
	}
	return t, reachable(b.addr)
}

// create does nothing: a channel is there when it is followed.
func (b *bare) create(string) error { return nil }

func (b *bare) follow(wire, channel string) (*follower, error) {
	f, err := dial(b.addr)
	if err != nil {
		return nil, err
	}
	f.number = func(_, message []byte) (int, bool) { return after(message, `"n":`, 0) }
	if wire == "ws" {
		return f, f.socket("/"+channel, "")
	}
	return f, f.stream("/" + channel)
}

func (b *bare) publish(channel string, n int) error {
	return post(b.client, "http://"+b.addr+"/"+channel+"/"+strconv.Itoa(n), "application/json", nil)
}

func (*bare) numbers() bool { return false }

func (b *bare) rest() { b.client.rest() }
