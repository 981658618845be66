package servertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// slots is how many hash slots a Redis Cluster has.
const slots = 16384

// RedisClusterServers are the members of a Redis Cluster. Each can be paused, killed
// and started again. A master that is away for a second is replaced by its replica.
type RedisClusterServers struct {
	Masters  []*Server // in the beginning; they share the slots evenly
	Replicas []*Server // Replicas[i] is that of Masters[i]; none without replicas
	URL      string    // names all members
}

// RedisCluster starts a Redis Cluster of three masters, with a replica each if they
// are to have one.
func RedisCluster(t testing.TB, replicas bool) *RedisClusterServers {
	t.Helper()
	c := new(RedisClusterServers)
	var addrs []string
	member := func() *Server {
		s := Redis(t, "--cluster-enabled", "yes", "--cluster-port", port(freeAddr()), "--cluster-node-timeout", "1000",
			"--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0",
			"--cluster-allow-replica-migration", "no", "--repl-diskless-sync-delay", "0")
		addrs = append(addrs, s.Addr)
		return s
	}
	for range 3 {
		c.Masters = append(c.Masters, member())
	}
	if replicas {
		for range 3 {
			c.Replicas = append(c.Replicas, member())
		}
	}
	c.URL = "redis://" + strings.Join(addrs, ",")
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := c.join(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// join makes one Cluster of the members and returns once all agree on it.
func (c *RedisClusterServers) join(ctx context.Context) error {
	members := append(append([]*Server(nil), c.Masters...), c.Replicas...)
	clients := make([]*redis.Client, len(members))
	for i, s := range members {
		clients[i] = redis.NewClient(&redis.Options{Addr: s.Addr, Protocol: 2, DisableIdentity: true})
		defer func() { _ = clients[i].Close() }()
	}
	for i, s := range members {
		host, busPort, err := s.bus(ctx, clients[i])
		if err != nil {
			return err
		}
		if i < len(c.Masters) {
			err = errors.Join(
				clients[i].ClusterAddSlotsRange(ctx, i*slots/3, (i+1)*slots/3-1).Err(),
				clients[i].Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		}
		if err = errors.Join(err, clients[0].Do(ctx, "cluster", "meet", host, port(s.Addr), busPort).Err()); err != nil {
			return fmt.Errorf("cluster of Redis: %w", err)
		}
	}
	for _, client := range clients {
		if err := until(ctx, "all know all", func() bool {
			nodes, err := client.ClusterNodes(ctx).Result()
			return err == nil && strings.Count(nodes, "\n") == len(members) && !strings.Contains(nodes, "handshake") &&
				strings.Count(nodes, "connected") == len(members) && !strings.Contains(nodes, "disconnected")
		}); err != nil {
			return err
		}
	}
	for i := range c.Replicas {
		id, err := clients[i].ClusterMyID(ctx).Result()
		if err == nil {
			err = clients[len(c.Masters)+i].ClusterReplicate(ctx, id).Err()
		}
		if err != nil {
			return fmt.Errorf("replica %d: %w", i, err)
		}
	}
	for i, client := range clients {
		if err := until(ctx, "the Cluster is there", func() bool {
			info, err := client.ClusterInfo(ctx).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprint("cluster_slots_ok:", slots)) {
				return false
			}
			nodes, err := client.ClusterNodes(ctx).Result()
			if err != nil || strings.Count(nodes, "slave") != len(c.Replicas) {
				return false
			}
			if i < len(c.Masters) {
				return true
			}
			role, err := client.Do(ctx, "role").Slice()
			return err == nil && len(role) > 3 && role[3] == "connected"
		}); err != nil {
			return err
		}
	}
	return nil
}

// bus returns where other members reach s.
func (s *Server) bus(ctx context.Context, client *redis.Client) (host, busPort string, err error) {
	host, _, err = net.SplitHostPort(s.Addr)
	if err != nil {
		return "", "", err
	}
	config, err := client.ConfigGet(ctx, "cluster-port").Result()
	return host, config["cluster-port"], err
}

// until waits for a condition.
func until(ctx context.Context, what string, condition func() bool) error {
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
