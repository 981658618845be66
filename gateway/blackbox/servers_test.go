package blackbox_test

import (
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/servertest"
)

// servers are a Redis and a RabbitMQ of which one is about to fail.
type servers struct {
	t      *testing.T
	redis  *servertest.Server
	admin  *goredis.Client
	rabbit *servertest.RabbitMQServer
	proxy  *servertest.ProxyServer // in front of RabbitMQ
	prefix string
}

func startServers(t *testing.T) *servers {
	t.Helper()
	if onServers() {
		t.Skip("runs on real servers in the other run of these tests")
	}
	// Redis writes a snapshot only when it is told to; that it may lets it fail.
	s := &servers{t: t, redis: servertest.Redis(t, "--save", "86400 1000000"), rabbit: shared.RabbitMQ(t), prefix: "t" + rand.Text()[:10]}
	s.admin = goredis.NewClient(&goredis.Options{Addr: s.redis.Addr, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = s.admin.Close() })
	s.proxy = servertest.Proxy(t, s.rabbit.Addr)
	return s
}

// args name the servers, RabbitMQ at the given address.
func (s *servers) args(rabbit string, more ...string) []string {
	return append([]string{
		"--redis=" + s.redis.URL, "--amqp=" + strings.Replace(s.rabbit.URL, s.rabbit.Addr, rabbit, 1),
		"--prefix=" + s.prefix, "--requeue=500ms",
	}, more...)
}

func (s *servers) ctl(arguments ...string) {
	s.t.Helper()
	if _, err := s.rabbit.Ctl(arguments...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *servers) set(name, value string) {
	s.t.Helper()
	if err := s.admin.ConfigSet(s.t.Context(), name, value).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// replicate has Redis follow another one; NO ONE ends that.
func (s *servers) replicate(host, port string) {
	s.t.Helper()
	if err := s.admin.ReplicaOf(s.t.Context(), host, port).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// openChannel opens one on a connection of its own, which ends with the test.
func openChannel(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// snapshot has Redis write one, and returns whether it could.
func (s *servers) snapshot() bool {
	s.t.Helper()
	if err := s.admin.BgSave(s.t.Context()).Err(); err != nil {
		s.t.Fatal(err)
	}
	var info string
	for info = ""; !strings.Contains(info, "rdb_bgsave_in_progress:0"); time.Sleep(5 * time.Millisecond) {
		info = s.admin.Info(s.t.Context(), "persistence").Val()
	}
	return strings.Contains(info, "rdb_last_bgsave_status:ok")
}

// inTheWay is a folder where Redis wants to put its snapshot.
func (s *servers) inTheWay() string {
	return filepath.Join(s.admin.ConfigGet(s.t.Context(), "dir").Val()["dir"], "dump.rdb")
}
