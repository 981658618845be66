package blackbox_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/servertest"
)

// newRedisCluster starts a cluster whose state is spread over three Redis masters with a
// replica each.
func newRedisCluster(t *testing.T) (*cluster, *servertest.RedisClusterServers) {
	t.Helper()
	c := emptyCluster(t)
	servers := servertest.RedisCluster(t, true)
	c.servers = []string{"--redis=" + servers.URL, "--partitions=64", "--prefix=t" + rand.Text()[:10]}
	if !onRedis() {
		c.servers = append(c.servers, "--amqp="+shared.RabbitMQ(t).URL)
	}
	c.topics = 5
	c.grow(3, 3)
	return c, servers
}

// commands returns how many commands a Redis has carried out for clients.
func commands(t *testing.T, s *servertest.Server) int {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: s.Addr, Protocol: 2, DisableIdentity: true})
	defer func() { _ = client.Close() }()
	info, err := client.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, m := range regexp.MustCompile(`cmdstat_(?:evalsha|eval|get|set|spublish|ssubscribe|xrange):calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		n, _ := strconv.Atoi(m[1])
		sum += n
	}
	return sum
}

// TestRedisCluster spreads the state over three masters: followers of requests and of
// feeds see every event once and in order, and the masters share the load.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	c, servers := newRedisCluster(t)
	requests := chaosSize(t, 300)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var feeds sync.WaitGroup
	feeds.Go(func() { c.followFeed(ctx, 0, "/v1/events", requests) })
	for topic := range c.topics {
		feeds.Go(func() { c.followFeed(ctx, topic, "/v1/topics/"+c.topic(topic)+"/events", requests*3/4/c.topics) })
	}
	var ended atomic.Int64
	began := time.Now()
	c.load(requests, 2, "5ms", &ended, atOnce)
	feeds.Wait()
	c.report(requests, &ended, began)
	if c.resets.Load() != 0 {
		t.Errorf("%d resets without a reason", c.resets.Load())
	}
	var counts []int
	for _, m := range servers.Masters {
		counts = append(counts, commands(t, m))
	}
	ratio := float64(max(counts[0], counts[1], counts[2])) / float64(min(counts[0], counts[1], counts[2]))
	t.Logf("commands of the masters %v, the busiest has %.2f times those of the idlest", counts, ratio)
	if ratio > 3 { // all requests have one owner, whose feed lives at one master
		t.Error("the load is not even")
	}
}

// TestRedisFailover kills masters under load; their replicas take over.
func TestRedisFailover(t *testing.T) {
	t.Parallel()
	c, servers := newRedisCluster(t)
	requests := chaosSize(t, 300)
	c.failover = true
	kill := func(n int) fault {
		return fault{fmt.Sprintf("master %d is killed", n), func() {
			servers.Masters[n].Kill()
			client := goredis.NewClient(&goredis.Options{Addr: servers.Replicas[n].Addr, Protocol: 2, DisableIdentity: true})
			defer func() { _ = client.Close() }()
			c.await("its replica has taken over", func() bool {
				role, err := client.Do(t.Context(), "role").Slice()
				return err == nil && role[0] == "master"
			})
			servers.Masters[n].Restart()
		}}
	}
	faults := []fault{kill(0)}
	if requests >= 1000 {
		faults = append(faults, kill(1), kill(2))
	}
	c.chaos(requests, faults)
	t.Logf("of %d requests answered with 202, %d were lost by failovers", requests, c.lost.Load())
	if c.lost.Load() > int64(requests/100) {
		t.Error("more than what a replica may not have had yet")
	}
}
