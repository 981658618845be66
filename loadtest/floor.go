package main

import (
	"os"
	"os/exec"
	"slices"
)

// startFloor starts a gateway and a worker that do the least that there is to do, on the servers behind Hark. Those count as its own. See loadtest/floor.
func startFloor(behind *target, h *hark) (_ *target, err error) {
	t := &target{name: "floor"}
	defer t.stopUnless(&err)
	dir, ports, err := t.place(1)
	if err != nil {
		return nil, err
	}
	binary, err := build(dir, "./loadtest/floor")
	if err != nil {
		return nil, err
	}
	for _, p := range behind.processes {
		if slices.Contains([]string{"rabbitmq", "redis"}, p.name) {
			t.processes = append(t.processes, p)
		}
	}
	addr := "127.0.0.1:" + ports[0]
	t.peer = &hark{addr: addr, addrs: []string{addr}, client: newClient()} // the wire is the same
	for _, args := range [][]string{{"gateway", addr}, {"worker"}} {
		cmd := exec.Command(binary, args...)
		cmd.Env = append(os.Environ(), h.environment...)
		if err := t.launch(args[0], cmd); err != nil {
			return nil, err
		}
	}
	return t, nil
}
