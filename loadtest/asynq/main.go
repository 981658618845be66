// Command asynq prints how many tasks per second go through asynq on a Redis, from
// producers that have one task each under way:
//
//	go run . REDIS_URL PRODUCERS DURATION
//
// It is a module of its own, so that the comparison adds nothing to what Hark requires.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: asynq REDIS_URL PRODUCERS DURATION")
		os.Exit(2)
	}
	producers, err1 := strconv.Atoi(os.Args[2])
	duration, err2 := time.ParseDuration(os.Args[3])
	redis, err3 := asynq.ParseRedisURI(os.Args[1])
	err := errors.Join(err1, err2, err3)
	if err == nil {
		err = run(redis, producers, duration)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "asynq:", err)
		os.Exit(1)
	}
}

func run(redis asynq.RedisConnOpt, producers int, duration time.Duration) error {
	done := make([]chan struct{}, producers)
	for i := range done {
		done[i] = make(chan struct{}, 1)
	}
	server := asynq.NewServer(redis, asynq.Config{Concurrency: 128, LogLevel: asynq.FatalLevel})
	if err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		done[binary.BigEndian.Uint32(task.Payload())] <- struct{}{}
		return nil
	})); err != nil {
		return err
	}
	defer server.Shutdown()
	client := asynq.NewClient(redis)
	defer func() { _ = client.Close() }()
	var running sync.WaitGroup
	counts, failed := make([]int, producers), make([]error, producers)
	began := time.Now()
	for i := range producers {
		running.Go(func() {
			payload := append(binary.BigEndian.AppendUint32(nil, uint32(i)), strings.Repeat("x", 196)...)
			for time.Since(began) < duration {
				if _, err := client.Enqueue(asynq.NewTask("load", payload)); err != nil {
					failed[i] = err
					return
				}
				<-done[i]
				counts[i]++
			}
		})
	}
	running.Wait()
	took, sum := time.Since(began), 0
	for _, n := range counts {
		sum += n
	}
	fmt.Printf("%.1f\n", float64(sum)/took.Seconds())
	return errors.Join(failed...)
}
