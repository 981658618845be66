package main

import (
	"fmt"
	"slices"
)

// planned is one run of a comparison.
type planned struct {
	scene  string
	wire   string // if the scene has a choice
	server string
	shared bool // whether the server has Redis behind it
	args   []string
	turns  bool // whether servers take turns in this scene
	floor  bool // a bare loop, of messages as long as Hark's were in this scene
}

// rounds is how often it is run where servers take turns so many times.
func (p planned) rounds(turns int) int {
	if !p.turns {
		return 1
	}
	return turns
}

func (p planned) String() string {
	name := p.scene
	if p.wire != "" {
		name += " " + p.wire
	}
	name += ": " + p.server
	if p.shared {
		name += " on Redis"
	}
	if p.floor {
		name += ", messages as long as Hark's"
	}
	return name
}

// same says whether it is in the same table, so that it takes turns with the other.
func (p planned) same(other planned) bool {
	return p.scene == other.scene && p.wire == other.wire && p.shared == other.shared
}

// plannedScenes is what a comparison consists of. Hark comes first wherever it runs: the floor
// needs the length of its messages.
var plannedScenes = []struct {
	name    string
	wires   []string
	servers []string // with nothing behind them
	shared  []string // with Redis behind them
	full    []string // flags
	quick   []string
	brief   bool // whether the first wire is enough to see that it works
	turns   bool // whether speed is compared
}{
	{
		name: "idle", wires: []string{"sse", "ws"}, servers: []string{"hark", "nchan", "centrifugo", "centrifuge", "mercure", "bare"},
		full: []string{"--connections=10000", "--settle=12s"}, quick: []string{"--connections=1000", "--settle=1s"},
	},
	{
		name: "broadcast", wires: []string{"sse", "ws"}, servers: []string{"hark", "nchan", "centrifugo", "centrifuge", "mercure", "bare"},
		full: []string{"--followers=5000", "--duration=10s"}, quick: []string{"--followers=1000", "--duration=1s", "--warmup=500ms"}, turns: true,
	},
	{
		name: "unicast", wires: []string{"sse", "ws"}, servers: []string{"hark", "nchan", "centrifugo", "centrifuge", "mercure", "bare"}, shared: []string{"hark", "centrifugo", "centrifuge"},
		full: []string{"--channels=5000", "--duration=10s"}, quick: []string{"--channels=500", "--duration=1s", "--warmup=500ms"}, brief: true, turns: true,
	},
	{
		name: "lifecycle", wires: []string{"sse"}, servers: []string{"hark"}, shared: []string{"hark"},
		full: []string{"--duration=10s"}, quick: []string{"--duration=2s"}, turns: true,
	},
	{
		name: "slow", wires: []string{"sse"}, servers: []string{"hark", "nchan", "centrifugo", "centrifuge", "mercure"},
		full: []string{"--rounds=3"}, quick: []string{"--followers=500", "--rounds=1", "--duration=1s", "--warmup=500ms"},
	},
	{
		name: "storm", servers: []string{"hark"},
		full: []string{"--connections=15000"}, quick: []string{"--connections=1000", "--retry=500ms"},
	},
	{
		name: "growth", wires: []string{"sse"}, servers: []string{"hark"},
		full:  []string{"--rounds=5"},
		quick: []string{"--followers=1,10,100", "--channels=1,10,100", "--deliveries=600", "--rounds=3"},
	},
}

// plan returns all runs of some scenes on some servers, in order; no names mean all of them but the
// other version of Hark, which is everywhere where Hark is, if it is asked for by its name. What
// cannot run has a reason in absent, by server.
func plan(scenes, servers []string, quick bool, absent map[string]string) ([]planned, error) {
	known := []string{"redis", "base"}
	var runs []planned
	wanted := func(name string, names []string) bool { return len(names) == 0 || slices.Contains(names, name) }
	var sceneNames []string
	for _, s := range plannedScenes {
		sceneNames, known = append(sceneNames, s.name), append(known, s.servers...)
		if !wanted(s.name, scenes) {
			continue
		}
		add := func(server, wire string, shared bool) {
			p := planned{scene: s.name, wire: wire, server: server, shared: shared, args: s.full, turns: s.turns}
			if quick {
				p.args = s.quick
			}
			_, away := absent[server]
			_, alone := absent["redis"]
			if _, away := absent["asynq"]; away && s.name == "lifecycle" {
				p.args = append(slices.Clone(p.args), "--no-asynq")
			}
			if !wanted(server, servers) || away || shared && alone || server == "mercure" && wire == "ws" {
				return
			}
			if floor := p; s.name == "broadcast" && server == "bare" && wanted("hark", servers) {
				floor.floor = true
				runs = append(runs, floor)
			}
			runs = append(runs, p)
		}
		wires := s.wires
		if len(wires) == 0 {
			wires = []string{""}
		}
		if quick && s.brief {
			wires = wires[:1]
		}
		for _, shared := range []bool{false, true} {
			for _, wire := range wires {
				names := s.servers
				if shared {
					names = s.shared
				}
				for _, server := range names {
					add(server, wire, shared)
					if server == "hark" && slices.Contains(servers, "base") {
						add("base", wire, shared)
					}
				}
			}
		}
	}
	for _, name := range servers {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no server %s", name)
		}
	}
	for _, name := range scenes {
		if !slices.Contains(sceneNames, name) {
			return nil, fmt.Errorf("a comparison has no scene %s, only %v", name, sceneNames)
		}
	}
	return runs, nil
}
