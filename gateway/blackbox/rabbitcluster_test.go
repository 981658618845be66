package blackbox_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hark-push/hark/servertest"
)

// TestRabbitMQCluster kills the nodes of a RabbitMQ cluster under load, one after the
// other, each of which is started again.
func TestRabbitMQCluster(t *testing.T) {
	if os.Getenv("HARK_CHAOS") == "" {
		t.Skip("starts three RabbitMQ: make chaos")
	}
	onlyRabbitMQ(t)
	c := emptyCluster(t)
	c.redis = servertest.Redis(t)
	nodes := servertest.RabbitMQCluster(t)
	var urls []string
	for _, s := range nodes {
		urls = append(urls, s.URL)
	}
	c.servers = []string{"--redis=" + c.redis.URL, "--amqp=" + strings.Join(urls, ",")}
	c.grow(3, 3)
	var faults []fault
	for n, s := range nodes {
		s.Sync()
		faults = append(faults, fault{fmt.Sprintf("RabbitMQ node %d is killed and started again", n), func() {
			s.Restart()
			c.await("the cluster is whole again", func() bool {
				_, err := nodes[(n+1)%3].Ctl("await_online_nodes", "3")
				return err == nil
			})
		}})
	}
	faults = append(faults,
		fault{"a gateway is killed", func() { c.killInBurst(1) }},
		fault{"a worker is killed", func() { c.killInWork(1) }})
	c.chaos(chaosSize(t, 0), faults)
}
