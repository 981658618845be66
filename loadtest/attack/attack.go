package attack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Scene shows what an honest caller notices of attacks on a gateway, and what they leave behind.
// Each is made on a gateway that the scene starts for it, on loopback, and on none besides. The
// honest caller submits requests that are worked on inside, each other one on a new connection,
// and waits for the results.
type Scene struct {
	Only        []string      `placeholder:"NAME" help:"Attacks whose names contain one of these; all of them otherwise."`
	Before      time.Duration `default:"5s" help:"How long the honest caller is alone."`
	During      time.Duration `default:"10s" help:"How long it is measured during an attack."`
	Settle      time.Duration `default:"5s" help:"How long memory settles before it is looked at."`
	Rest        time.Duration `default:"1m" help:"How long after an attack memory is looked at again."`
	Descriptors int           `default:"1024" help:"Open files that the gateway may have."`
	Redis       string        `placeholder:"URL" help:"Redis to use; goes with --amqp. Private ones: --backends=shared."`
	AMQP        string        `name:"amqp" placeholder:"URL" help:"RabbitMQ to use."`
	Report      bool          `help:"Do not fail when something is not as it should be."`

	gateway     string // the program
	dir         string
	args        []string
	environment []string
}

// The keys of an attack's gateway.
const (
	honestKey     = "hark_honest_0123456789"
	besiegerKey   = "hark_besieger_01234567"
	besiegersWork = "hark_worker_0123456789"
)

// Start builds the gateway and starts what is behind it. Gateways are started by run.
func (s *Scene) Start(o *peer.Options) (_ *peer.Target, err error) {
	if o.On != "hark" || o.Nodes > 1 {
		return nil, errors.New("only a gateway of Hark is attacked, and one")
	}
	t := &peer.Target{Name: "Hark, embedded"}
	defer t.StopUnless(&err)
	if s.dir, err = t.Folder(); err != nil {
		return nil, err
	}
	if s.gateway, err = peer.Build(s.dir, "./gateway"); err != nil {
		return nil, err
	}
	keys := filepath.Join(s.dir, "keys.yaml")
	text := fmt.Sprintf("- {subject: honest, roles: [client], key: %s}\n- {subject: besieger, roles: [client], key: %s}\n"+
		"- {subject: worker, roles: [processor], key: %s}\n", honestKey, besiegerKey, besiegersWork)
	if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s.args = append([]string{
		"--keys=" + keys, "--drain=1s", "--log-level=error", "--routes=default,echo,idle", "--concurrency=32",
		"--webhook-allow-cidrs=127.0.0.0/8", "--webhook-allow-http",
	}, o.Args...)
	s.environment = append(os.Environ(), "HARK_JWT_SECRET=a secret that signs no token of this test")
	switch {
	case s.Redis != "" && s.AMQP != "":
	case s.Redis != "" || s.AMQP != "":
		return nil, errors.New("--redis and --amqp go together")
	case o.Backends == "redis":
		return nil, errors.New("this scene knows embedded and shared")
	case o.Backends == "shared":
		b, err := t.Servers("epmd rabbitmq redis")
		if err != nil {
			return nil, err
		}
		s.Redis, s.AMQP = b.Redis, b.AMQP
	default:
		return t, nil
	}
	t.Name = "Hark on Redis and RabbitMQ"
	s.environment = append(s.environment, "HARK_REDIS="+s.Redis, "HARK_AMQP="+s.AMQP)
	return t, nil
}

// Run makes the attacks, each on a gateway of its own. An error names what is not as it should be.
func (s *Scene) Run(t *peer.Target) (measure.Results, error) {
	var table attackTable
	for i, kind := range attackKinds {
		if !s.wants(kind.name) {
			continue
		}
		t.Phase(kind.name, 0)
		row, err := s.play(kind.name, i)
		for again := 1; err == nil && again < mostTurns && row.disturbed(); again++ {
			t.Progress.Note(row.line())
			t.Progress.Note(fmt.Sprintf("the disk stood still for %.0f ms, whoever wrote: once more", measure.Millis(row.Disk, 100)))
			row, err = s.play(kind.name, i+again*len(attackKinds))
		}
		if err != nil {
			return table.results(), fmt.Errorf("%s: %w", kind.name, err)
		}
		table = append(table, row)
		t.Progress.Note(row.line())
	}
	if len(table) == 0 {
		return measure.Results{}, errors.New("there is no attack of that name")
	}
	if wrong := table.wrong(); len(wrong) > 0 && !s.Report {
		return table.results(), errors.New(strings.Join(wrong, "\n"))
	}
	return table.results(), nil
}

func (s *Scene) wants(name string) bool {
	for _, part := range s.Only {
		if strings.Contains(name, part) {
			return true
		}
	}
	return len(s.Only) == 0
}

// play makes one attack.
func (s *Scene) play(name string, number int) (row attackRow, err error) {
	row.Name = name
	g, err := s.open(number)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	syscall.Sync() // what others have left to be written, a build above all, is no attack's
	honest := newHonest(g.addr)
	_, failed := honest.measure(time.Second) // to warm up
	row.Before, row.Failed = honest.measure(s.Before)
	if failed+row.Failed > 0 {
		return row, fmt.Errorf("the honest caller is refused: %w", honest.why())
	}
	time.Sleep(s.Settle)
	row.Memory.Before = g.memory()

	disk, err := watchDisk(s.dir)
	if err != nil {
		return row, err
	}
	besieging, err := s.besiege(g.addr, name)
	if err != nil {
		disk()
		return row, err
	}
	stop := g.watch()
	row.During, row.Failed = honest.measure(s.During)
	row.Disk = disk()
	row.Why = honest.why()
	row.Met, err = besieging.end()
	row.Memory.Peak = max(stop(), row.Memory.Before)
	if err != nil {
		return row, err
	}
	time.Sleep(s.Rest)
	row.Memory.After = g.memory()
	if row.Alive = g.alive(); row.Alive {
		_, failed := honest.measure(time.Second)
		row.Alive = failed == 0
	}
	return row, nil
}

// attacked is the gateway of one attack.
type attacked struct {
	addr  string
	cmd   *exec.Cmd
	ended chan struct{}
}

// open starts a gateway of its own, with as many descriptors as were said.
func (s *Scene) open(number int) (*attacked, error) {
	ports, err := peer.FreePorts(1)
	if err != nil {
		return nil, err
	}
	g := &attacked{addr: "127.0.0.1:" + ports[0], ended: make(chan struct{})}
	args := append([]string{"-c", "ulimit -n " + strconv.Itoa(s.Descriptors) + ` && exec "$0" "$@"`, s.gateway}, s.args...)
	args = append(args, "--listen="+g.addr)
	if s.Redis == "" {
		args = append(args, "--data="+filepath.Join(s.dir, fmt.Sprint("data", number)))
	} else {
		args = append(args, fmt.Sprintf("--prefix=attack%d-%d", os.Getpid(), number))
	}
	g.cmd = exec.Command("/bin/sh", args...)
	g.cmd.Env = s.environment
	said := new(bytes.Buffer)
	g.cmd.Stderr = said
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = g.cmd.Wait() // how it ended does not matter, but that it did
		close(g.ended)
	}()
	asking := client.New()
	defer asking.Rest()
	if err := peer.Ready(context.Background(), asking, g.addr); err != nil {
		return nil, errors.Join(err, g.stop(), errors.New(said.String()))
	}
	return g, nil
}

func (g *attacked) alive() bool {
	select {
	case <-g.ended:
		return false
	default:
		return true
	}
}

func (g *attacked) stop() error {
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.ended:
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("the gateway did not end, and was killed"), g.cmd.Process.Kill())
	}
}

// memory returns the bytes that the gateway holds, 0 if it is gone.
func (g *attacked) memory() float64 {
	n, err := peer.Process{Name: "gateway", PID: g.cmd.Process.Pid}.Memory()
	if err != nil {
		return 0
	}
	return n
}

// watch looks at the memory again and again, and returns the most that it was when it is stopped.
func (g *attacked) watch() (stop func() float64) {
	done, most := make(chan struct{}), make(chan float64)
	go func() {
		peak := 0.0
		for {
			peak = max(peak, g.memory())
			select {
			case <-time.After(50 * time.Millisecond):
			case <-done:
				most <- peak
				return
			}
		}
	}()
	return func() float64 { close(done); return <-most }
}

// honestCaller is one who submits requests and waits for their results, several at a time and with
// pauses.
type honestCaller struct {
	url    string
	client *client.Client
	failed atomic.Int64
	reason atomic.Pointer[error]
}

func newHonest(addr string) *honestCaller {
	return &honestCaller{url: "http://" + addr + "/v1/requests", client: client.New()}
}

// measure submits for so long, and returns how long it took from each POST to the result, and how
// many failed.
func (h *honestCaller) measure(d time.Duration) (*hdrhistogram.Histogram, int64) {
	all, before := measure.NewHistogram(), h.failed.Load()
	var mu sync.Mutex
	var calling sync.WaitGroup
	end := time.Now().Add(d)
	for caller := range 4 {
		calling.Go(func() {
			for n := caller; time.Now().Before(end); n++ {
				if n%2 == 0 {
					h.client.Rest() // and so comes on a new connection
				}
				began := time.Now()
				err := client.Post(h.client, h.url, "application/json", []byte(`{"route":"echo","content":"work"}`), "Authorization", "Bearer "+honestKey)
				took := time.Since(began)
				if err != nil {
					h.failed.Add(1)
					h.reason.CompareAndSwap(nil, &err)
				}
				mu.Lock()
				measure.Record(all, took)
				mu.Unlock()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	calling.Wait()
	return all, h.failed.Load() - before
}

// why returns why the first call that failed did, nil if none has.
func (h *honestCaller) why() error {
	if err := h.reason.Load(); err != nil {
		return *err
	}
	return nil
}

// besieging is a process that attacks.
type besieging struct {
	cmd *exec.Cmd
	in  interface{ Close() error }
	out *bufio.Reader

	begun chan struct{} // it is in place, or has failed
	err   error         // set before
}

// besiege starts an attack and returns when it is in place, or some seconds later, because it may
// be kept from that.
func (s *Scene) besiege(addr, name string) (*besieging, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("nice", "-n", "10", self, "siege", name, "--addr="+addr, "--key="+besiegerKey, "--work-key="+besiegersWork,
		"--descriptors="+strconv.Itoa(s.Descriptors))
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return nil, err
	}
	b := &besieging{cmd: cmd, in: in, out: bufio.NewReader(out), begun: make(chan struct{})}
	go func() {
		_, b.err = b.out.ReadString('\n')
		close(b.begun)
	}()
	select {
	case <-b.begun:
		if b.err != nil {
			return nil, errors.Join(fmt.Errorf("the attack did not begin: %w", b.err), in.Close(), cmd.Wait())
		}
	case <-time.After(10 * time.Second):
	}
	return b, nil
}

// end ends the attack and returns what it met.
func (b *besieging) end() (map[string]int, error) {
	if err := b.in.Close(); err != nil {
		return nil, err
	}
	<-b.begun
	var met map[string]int
	for {
		line, err := b.out.ReadString('\n')
		if err != nil {
			return nil, errors.Join(err, b.cmd.Wait())
		}
		if json.Unmarshal([]byte(line), &met) == nil {
			return met, b.cmd.Wait()
		}
	}
}
