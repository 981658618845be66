package servertest_test

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/servertest"
)

// TestRedisCluster: a master that is killed is replaced by its replica, and comes back
// as one.
func TestRedisCluster(t *testing.T) {
	c := servertest.RedisCluster(t, true)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.Masters[1].Addr, c.Replicas[2].Addr}, ClusterStateReloadInterval: time.Second})
	defer client.Close()
	set := func(value string) bool {
		for i := range 30 { // enough to meet every master
			if client.Set(t.Context(), fmt.Sprint("key", i), value, 0).Err() != nil {
				return false
			}
		}
		return true
	}
	if !set("before") {
		t.Fatal("it cannot be used")
	}
	eventually := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(3 * time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	c.Masters[0].Kill()
	began := time.Now()
	eventually("no replica takes over", func() bool { return set("after") })
	t.Logf("replaced after %v", time.Since(began).Round(time.Millisecond))
	c.Masters[0].Restart()
	back := redis.NewClient(&redis.Options{Addr: c.Masters[0].Addr})
	defer back.Close()
	eventually("it does not come back as a replica", func() bool {
		role, err := back.Do(t.Context(), "role").Slice()
		return err == nil && role[0] == "slave"
	})
	c.Masters[1].Pause()
	eventually("no replica takes over from a paused master", func() bool { return set("paused") })
	c.Masters[1].Resume()
}

// TestRabbitMQCluster: a quorum queue survives the death of any one node and goes on
// taking messages.
func TestRabbitMQCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	nodes := servertest.RabbitMQCluster(t)
	open := func(n int) *amqp.Channel {
		t.Helper()
		conn, err := amqp.Dial(nodes[n].URL)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.Confirm(false); err != nil {
			t.Fatal(err)
		}
		return ch
	}
	const messages = 20
	publish := func(ch *amqp.Channel) {
		t.Helper()
		refused := 0                                // may have been taken all the same
		for confirmed := 0; confirmed < messages; { // none is, while a leader is elected
			sent, err := ch.PublishWithDeferredConfirm("", "q", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")})
			if err != nil || refused == 1000 {
				t.Fatalf("%d refused: %v", refused, err)
			}
			if sent.Wait() {
				confirmed++
			} else {
				refused++
				time.Sleep(20 * time.Millisecond) // as a client would
			}
		}
		t.Logf("%d refused meanwhile", refused)
	}
	first, second := open(0), open(1)
	if _, err := first.QueueDeclare("q", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}); err != nil {
		t.Fatal(err)
	}
	publish(first)
	// 3.10 never takes a message from a channel whose first one came while there was no
	// leader, so this one has published before.
	publish(second)
	for _, s := range nodes {
		s.Sync()
	}
	nodes[0].Kill() // the leader of the queue
	publish(second)
	nodes[0].Restart()
	if _, err := nodes[1].Ctl("await_online_nodes", "3"); err != nil {
		t.Fatal(err)
	}
	third := open(0)
	publish(third)
	nodes[1].Kill()
	publish(third)
	for n := range 5 * messages {
		if m, ok, err := third.Get("q", true); !ok || string(m.Body) != "x" {
			t.Fatalf("message %d: %q, %v, %v", n, m.Body, ok, err)
		}
	}
}
