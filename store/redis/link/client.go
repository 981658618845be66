// Package link is how a process reaches Redis: the commands that it sends and the scripts that it
// runs, on a single server those of many callers together, the channels that it is subscribed to,
// the server's clock, and what is the matter if Redis cannot be reached. It knows nothing of what
// is stored.
package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Client sends commands to a server, to the master that Sentinels name, or to a Cluster. All
// methods may be called concurrently.
type Client struct {
	goredis.UniversalClient
	pipe *pipe // nil on a Cluster
}

// Connect returns a client, which reaches out when it is used first. timeout bounds each command,
// and what is sent for others along with a caller's own. Of the options, retries, timeouts and the
// protocol are set here. Close the client.
func Connect(options *goredis.UniversalOptions, timeout time.Duration) *Client {
	o := new(*options)
	o.ContextTimeoutEnabled = true
	o.Protocol = 2 // the replies that scripts give are the same in both
	o.MaxRetries = 2
	o.DialerRetries = 1 // a call is bounded by its time, not by a number of dials
	o.ReadTimeout, o.WriteTimeout = timeout, timeout
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.DisableIdentity = true
	if o.MasterName != "" || len(o.Addrs) == 1 && !o.IsClusterMode {
		c := goredis.NewUniversalClient(o)
		return &Client{UniversalClient: c, pipe: &pipe{client: c, timeout: timeout}}
	}
	cluster := o.Cluster()
	// Of a master that died go-redis is not told, only of one that sends it elsewhere.
	cluster.ClusterStateReloadInterval = time.Second
	return &Client{UniversalClient: goredis.NewClusterClient(cluster)}
}

// Server is what a server says of itself.
type Server struct {
	Major, Minor int // of its version
	Cluster      bool
}

// Server asks the server. One of a Cluster that was not taken for that is an error.
func (c *Client) Server(ctx context.Context) (Server, error) {
	info, err := c.Info(ctx).Result()
	if err != nil {
		return Server{}, err
	}
	var s Server
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "redis_version":
			if _, err := fmt.Sscanf(value, "%d.%d", &s.Major, &s.Minor); err != nil {
				return Server{}, fmt.Errorf("server version %q: %w", value, err)
			}
		case "cluster_enabled":
			s.Cluster = value == "1"
		}
	}
	if s.Major == 0 {
		return Server{}, errors.New("the server does not tell its version")
	}
	if s.Cluster && c.pipe != nil {
		return Server{}, errors.New("the server is part of a Cluster: add ?cluster=true to its URL")
	}
	return s, nil
}

// Run runs a script on a key, which says where. A server that does not know the script yet is given
// its text. Errors are those of go-redis.
func (c *Client) Run(ctx context.Context, script *goredis.Script, key string, args ...any) (Answer, error) {
	if c.pipe != nil {
		var answer *goredis.Cmd
		if err := c.pipe.do(ctx, func(p goredis.Pipeliner) { answer = script.EvalSha(ctx, p, []string{key}, args...) }); err != nil {
			return nil, err
		}
		if !goredis.HasErrorPrefix(answer.Err(), "NOSCRIPT") {
			return answer.Slice()
		}
	}
	return c.RunAlone(ctx, script, key, args...)
}

// RunAlone is Run for an answer that is large, so that others should not wait behind it.
func (c *Client) RunAlone(ctx context.Context, script *goredis.Script, key string, args ...any) (Answer, error) {
	return script.Run(ctx, c, []string{key}, args...).Slice()
}

// RunTask has a script that does the tasks of many callers do one of this caller, as of a time of
// the server's in µs, with those of others on a single server. The script gets the time of the
// latest, and for each task the number of its arguments and those. It answers a list of answers; 1
// is short for a list of "ok", and "error" with a text is what went wrong with this task alone.
// Errors are that, and those of go-redis.
func (c *Client) RunTask(ctx context.Context, script *goredis.Script, key string, now int64, args ...any) (Answer, error) {
	return c.RunTaskBeside(ctx, nil, script, key, now, args...)
}

// RunTaskBeside is RunTask, and sends the commands that add adds before it, on a single server in
// the same round trip. Each has its error. If RunTaskBeside returns that of ctx, nothing of them
// may be looked at. A nil add adds nothing.
func (c *Client) RunTaskBeside(ctx context.Context, add func(goredis.Pipeliner), script *goredis.Script, key string, now int64, args ...any) (Answer, error) {
	t := &task{script: script, key: key, now: now, args: args}
	if c.pipe == nil && add != nil {
		if err := c.Send(ctx, add); err != nil {
			return nil, err
		}
	}
	if c.pipe != nil {
		if err := c.pipe.share(ctx, add, t); err != nil {
			return nil, err
		}
		if !goredis.HasErrorPrefix(t.err, "NOSCRIPT") {
			return t.answer, t.err
		}
	}
	return c.RunTaskAlone(ctx, script, key, now, args...)
}

// RunTaskAlone is RunTask for a task that is large, so that others should not wait behind it.
func (c *Client) RunTaskAlone(ctx context.Context, script *goredis.Script, key string, now int64, args ...any) (Answer, error) {
	t := &task{script: script, key: key, now: now, args: args}
	answers, err := c.RunAlone(ctx, script, key, append([]any{now, len(args)}, args...)...)
	t.take(answers, 0, err)
	return t.answer, t.err
}

// RunOn runs a script on some keys, in one round trip to each server, with the arguments for the
// i-th of them. Each has an answer or an error.
func (c *Client) RunOn(ctx context.Context, script *goredis.Script, keys []string, args func(i int) []any) ([]Answer, []error) {
	answers, errs := make([]Answer, len(keys)), make([]error, len(keys))
	commands := make([]*goredis.Cmd, len(keys))
	if len(keys) > 1 {
		_, _ = c.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for i, key := range keys {
				commands[i] = script.EvalSha(ctx, p, []string{key}, args(i)...)
			}
			return nil
		})
	}
	for i, command := range commands {
		if command == nil || goredis.HasErrorPrefix(command.Err(), "NOSCRIPT") {
			answers[i], errs[i] = c.Run(ctx, script, keys[i], args(i)...)
		} else {
			answers[i], errs[i] = command.Slice()
		}
	}
	return answers, errs
}

// Send sends the commands that add adds in one round trip, with those of others on a single server.
// Each has its error. When ctx ends first, Send returns that, and nothing of them may be looked at.
func (c *Client) Send(ctx context.Context, add func(goredis.Pipeliner)) error {
	if c.pipe != nil {
		return c.pipe.do(ctx, add)
	}
	_, _ = c.Pipelined(ctx, func(p goredis.Pipeliner) error {
		add(p)
		return nil
	})
	return nil
}

// Names returns in order what stands behind a prefix in the names of keys.
func (c *Client) Names(ctx context.Context, prefix string) ([]string, error) {
	var mu sync.Mutex
	var names []string
	scan := func(ctx context.Context, client *goredis.Client) error {
		pattern := strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(prefix) + "*"
		for keys := client.Scan(ctx, 0, pattern, 1000).Iterator(); ; {
			if !keys.Next(ctx) {
				return keys.Err()
			}
			mu.Lock()
			names = append(names, strings.TrimPrefix(keys.Val(), prefix))
			mu.Unlock()
		}
	}
	var err error
	switch client := c.UniversalClient.(type) {
	case *goredis.ClusterClient:
		err = client.ForEachMaster(ctx, scan)
	case *goredis.Client:
		err = scan(ctx, client)
	default:
		err = fmt.Errorf("%T is no client that can be gone through", client)
	}
	slices.Sort(names)
	return slices.Compact(names), err // a scan may name one twice
}
