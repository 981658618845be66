package redis_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis"
)

// before calls a function before each command of a name.
type before struct {
	name string
	call func()
}

func (b before) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (b before) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		if cmd.Name() == b.name {
			b.call()
		}
		return next(ctx, cmd)
	}
}

func (b before) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return next
}

// TestForgottenWhileRead: a body that is forgotten between two commands of a read is not there,
// which is no damage.
func TestForgottenWhileRead(t *testing.T) {
	server := servertest.Redis(t)
	damages := codec.NewDamages(slog.New(slog.DiscardHandler))
	s, other := open(t, server.URL, redis.Options{Damages: damages}), open(t, server.URL, redis.Options{})
	content := bytes.Repeat([]byte("0123456789abcdef"), 50_000)
	for at := 1; ; at++ {
		sub := submission("a")
		sub.Content = lifecycle.Content{Type: "text/plain", Data: content}
		created, err := s.Create(t.Context(), sub)
		if err != nil {
			t.Fatal(err)
		}
		commands := 0
		redis.Hook(s, before{"getrange", func() {
			if commands++; commands != at {
				return
			}
			if _, err := other.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Cancel{}); err != nil {
				t.Error(err)
			}
			if err := other.Delete(t.Context(), lifecycle.Named("a")); err != nil {
				t.Error(err)
			}
		}})
		p := make([]byte, 1000)
		n, err := s.ReadContent(t.Context(), created.Request.Ref(), lifecycle.Input, p, 300_000)
		if commands < at { // it was read before
			if err != nil || !bytes.Equal(p[:n], content[300_000:301_000]) || at < 3 {
				t.Errorf("%d commands, %d bytes, %v", commands, n, err)
			}
			break
		}
		if !errors.Is(err, lifecycle.ErrNotFound) {
			t.Errorf("forgotten before command %d: %d bytes, %v", at, n, err)
		}
	}
	if n := damages.Count(); n != 0 {
		t.Errorf("%d damages", n)
	}
}
