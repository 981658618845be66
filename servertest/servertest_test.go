package servertest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/hark-push/hark/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRedis(t *testing.T) {
	server := servertest.Redis(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, ReadTimeout: time.Second})
	defer client.Close()
	for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": "", "bind": "127.0.0.1"} {
		if got := client.ConfigGet(t.Context(), name).Val()[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if err := client.Set(t.Context(), "a", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Stop() // in order, so that the last second is on disk
	server.Restart()
	if got, err := client.Get(t.Context(), "a").Result(); got != "1" {
		t.Errorf("after a restart: %q, %v", got, err)
	}

	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Error("a paused server answers")
	}
	server.Resume()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	server.Kill()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("a killed server answers")
	}
	server.Restart()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

func TestRabbitMQ(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server twice")
	}
	server := servertest.RabbitMQ(t)
	publish := func() *amqp.Channel {
		t.Helper()
		conn, err := amqp.Dial(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ch.QueueDeclare("q", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}); err != nil {
			t.Fatal(err)
		}
		return ch
	}
	ch := publish()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	sent, err := ch.PublishWithDeferredConfirm("", "q", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")})
	if err != nil || !sent.Wait() {
		t.Fatal("not confirmed", err)
	}
	server.Sync()
	server.Kill()
	server.Restart()
	if m, ok, err := publish().Get("q", true); !ok || string(m.Body) != "x" {
		t.Errorf("after a restart: %q, %v, %v\n%s", m.Body, ok, err, server.Log())
	}
	out, err := server.Ctl("list_queues", "name")
	if err != nil || !strings.Contains(out, "q") {
		t.Errorf("rabbitmqctl: %q, %v", out, err)
	}
}

// TestInstalled: no test of the drivers may be skipped where they must run.
func TestInstalled(t *testing.T) {
	if os.Getenv("HARK_REQUIRE_SERVERS") == "" {
		t.Skip("HARK_REQUIRE_SERVERS is not set")
	}
	servertest.Redis(t)
}

// echo starts a server that sends back what it gets.
func echo(t *testing.T) string {
	return servertest.Serve(t, func(conn net.Conn) {
		defer conn.Close()
		io.Copy(conn, conn)
	})
}

func TestProxy(t *testing.T) {
	proxy := servertest.Proxy(t, echo(t))
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", proxy.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	say := func(conn net.Conn, wait time.Duration) error {
		conn.SetDeadline(time.Now().Add(wait))
		if _, err := conn.Write([]byte("hello")); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 5))
		return err
	}
	conn := dial()
	if err := say(conn, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	proxy.Delay(100 * time.Millisecond)
	if start := time.Now(); say(conn, 5*time.Second) != nil || time.Since(start) < 200*time.Millisecond {
		t.Errorf("both ways took %v", time.Since(start))
	}
	proxy.Delay(0)
	proxy.Drop(servertest.ToClient)
	if err := say(conn, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half open: %v", err)
	}
	proxy.Restore()
	if err := say(conn, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that lost bytes: %v", err)
	}
	if err := say(dial(), 5*time.Second); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	conn = dial()
	if err := say(conn, 5*time.Second); err != nil {
		t.Error(err)
	}
	proxy.Cut()
	if err := say(conn, 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("cut: %v", err)
	}
	proxy.Refuse()
	if err := say(dial(), 5*time.Second); err == nil {
		t.Error("accepted")
	}
}
