package peer

import (
	"os"
	"os/exec"
	"slices"

	"github.com/hark-push/hark/loadtest/client"
)

// StartFloor starts a gateway and a worker that do the least that there is to do, on the servers
// behind Hark. Those count as its own. See loadtest/floor.
func StartFloor(behind *Target, h *Hark) (_ *Target, err error) {
	t := &Target{Name: "floor"}
	defer t.StopUnless(&err)
	dir, ports, err := t.place(1)
	if err != nil {
		return nil, err
	}
	binary, err := Build(dir, "./loadtest/floor")
	if err != nil {
		return nil, err
	}
	for _, p := range behind.Processes {
		if slices.Contains([]string{"rabbitmq", "redis"}, p.Name) {
			t.Processes = append(t.Processes, p)
		}
	}
	addr := "127.0.0.1:" + ports[0]
	t.Peer = &Hark{Addr: addr, Addrs: []string{addr}, client: client.New()} // the wire is the same
	for _, args := range [][]string{{"gateway", addr}, {"worker"}} {
		cmd := exec.Command(binary, args...)
		cmd.Env = append(os.Environ(), h.environment...)
		if err := t.launch(args[0], cmd); err != nil {
			return nil, err
		}
	}
	return t, nil
}
