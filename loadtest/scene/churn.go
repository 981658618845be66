package scene

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/churn"
	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Churn is a check and no measurement: see package churn. It starts processes of its own, a gateway
// with everything inside, or two gateways and three workers on Redis and RabbitMQ, of which two
// workers are never killed.
type Churn struct {
	Minutes float64       `default:"1" help:"How long things are disturbed. What is under way then is waited for."`
	Seed    uint64        `default:"1" help:"Of all choices; the same seed makes the same ones."`
	Rate    float64       `default:"12" help:"Requests per second, besides batches and ids that are used again."`
	Drain   time.Duration `default:"3m" help:"How long to wait at most until all has ended."`
	Every   time.Duration `default:"5m" help:"How often it is written down what the store and the processes hold."`
	Rest    time.Duration `help:"How long to wait in the end until all is forgotten, and fail if something stays: ten minutes or more. By default it is not waited for. Timeouts and retentions are a third of it then."`
	Race    bool          `help:"Build gateways and workers with the race detector."`

	system churn.System
}

// Start makes everything ready but the gateways and workers, which are the check's to start and to
// end.
func (s *Churn) Start(o *peer.Options) (_ *peer.Target, err error) {
	shared := o.Shared()
	t := &peer.Target{Name: "Hark, embedded"}
	defer t.StopUnless(&err)
	if o.On != "hark" {
		return nil, errors.New("only Hark has this scene")
	}
	dir, err := t.Folder()
	if err != nil {
		return nil, err
	}
	nodes := 1
	if shared {
		nodes = max(2, o.Nodes)
	} else if o.Nodes > 1 {
		return nil, errors.New("several gateways need --backends=shared, or redis")
	}
	ports, err := peer.FreePorts(nodes)
	if err != nil {
		return nil, err
	}
	var flags []string
	if s.Race {
		flags = append(flags, "-race")
	}
	gateway, err := peer.Build(dir, "./gateway", flags...)
	if err != nil {
		return nil, err
	}
	s.system = churn.System{Keys: filepath.Join(dir, "keys.yaml")}
	environment := os.Environ()
	args := []string{
		"--drain=1s", "--log-level=warn", "--keys=" + s.system.Keys, "--routes=" + strings.Join(churn.Routes, ","), "--concurrency=16", "--fetch-private",
		"--heartbeat=2s", "--retry=200ms", "--retry-delay=200ms", "--feed-history=1000000", "--webhook-allow-cidrs=127.0.0.0/8", "--webhook-allow-http",
	}
	if shared {
		t.Name = "Hark on servers"
		b, err := t.ServersOf(o)
		if err != nil {
			return nil, err
		}
		environment = append(environment, b.Environment()...)
		environment = append(environment, "HARK_FEED_HISTORY=1000000", "HARK_RETRY_DELAY=200ms")
		args = append(args, "--samples=false", "--requeue=5s")
		s.system.Kept = func(ctx context.Context) (map[string]float64, error) { return keysOf(ctx, b.Redis) }
		if b.AMQP != "" {
			s.system.Queues = func() (map[string]int, error) { return queued(b.AMQP) }
		}
		worker, err := peer.Build(dir, "./processor/cmd/worker", flags...)
		if err != nil {
			return nil, err
		}
		for i, routes := range []string{"sleep", "echo,images", "echo,images,fetch"} {
			s.system.Workers = append(s.system.Workers, &churn.Process{
				// Nobody waits for it.
				Name: fmt.Sprint("worker ", i), Ready: func(context.Context) error { return nil },
				Command: func() *exec.Cmd {
					cmd := exec.Command(worker, "--routes="+routes, "--concurrency=16", "--drain=1s", "--fetch-private")
					cmd.Env = environment
					return cmd
				},
			})
		}
		s.system.Mortal = 1
	} else {
		args = append(args, "--data="+dir+"/data")
		s.system.Kept = func(context.Context) (map[string]float64, error) { return bucketsOf(dir + "/data") }
	}
	if s.Rest > 0 {
		retention := (s.Rest / 3).String()
		args = append(args, "--feed-retention="+retention, "--webhook-retention="+retention)
	}
	args = append(args, o.Args...)
	asking := client.New()
	for i, port := range ports {
		addr := "127.0.0.1:" + port
		s.system.Gateways = append(s.system.Gateways, &churn.Process{
			Name: fmt.Sprint("gateway ", i), Addr: addr, Ready: func(ctx context.Context) error { return peer.Ready(ctx, asking, addr) },
			Command: func() *exec.Cmd {
				cmd := exec.Command(gateway, append(args, "--listen="+addr)...)
				cmd.Env = environment
				return cmd
			},
		})
	}
	s.system.Memory = func() (sum float64, err error) {
		for _, g := range s.system.Gateways {
			n, err := peer.Process{Name: g.Name, PID: g.PID()}.Memory()
			if err != nil {
				return 0, err
			}
			sum += n
		}
		return sum, nil
	}
	return t, nil
}

// queued returns how many messages wait in each queue of the gateways.
func queued(url string) (map[string]int, error) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	names := []string{"hark.delay.100ms", "hark.delay.500ms", "hark.delay.2s", "hark.delay.10s"}
	for _, route := range churn.Routes {
		names = append(names, "hark.work."+route, "hark.dead."+route)
	}
	messages := make(map[string]int)
	for _, name := range names {
		q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		if err != nil {
			return nil, err
		}
		messages[name] = q.Messages
	}
	return messages, nil
}

// Run makes the check and returns what it has done and looked at. An error names what was violated.
func (s *Churn) Run(t *peer.Target) (measure.Results, error) {
	o := churn.Options{
		Duration: time.Duration(s.Minutes * float64(time.Minute)), Seed: s.Seed, Rate: s.Rate, Drain: s.Drain, Every: s.Every, Rest: s.Rest,
		Phase: func(name string, d time.Duration) {
			if d > 0 {
				t.Timed(name, d)
			} else {
				t.Phase(name, 0)
			}
		},
	}
	if o.Duration >= 2*time.Minute {
		o.Rounds = 2
	}
	// Whoever interrupts it should find no process left.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := churn.Run(ctx, s.system, o)
	if err != nil {
		return measure.Results{}, err
	}
	fmt.Print(report.Inventory)
	var r measure.Results
	for _, f := range append(report.Done, report.Checked...) {
		r.Figures = append(r.Figures, bench.Figure(f))
	}
	const most = 50
	if n := len(report.Violations); n > 0 {
		return r, fmt.Errorf("%d violations, with --seed=%d, at seconds from the start:\n%s", n, s.Seed, strings.Join(report.Violations[:min(n, most)], "\n"))
	}
	return r, nil
}
