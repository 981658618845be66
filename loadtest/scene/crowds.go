package scene

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// crowds is followers in as many processes as they take.
type crowds []*crowdProcess

// crowdProcess is this program, run again as a crowd.
type crowdProcess struct {
	mu      sync.Mutex
	cmd     *exec.Cmd
	in      io.WriteCloser
	orders  *json.Encoder
	answers *json.Decoder
}

// perProcess is how many connections a crowd holds. Open files may be limited to 20,000.
const perProcess = 15_000

// startCrowds has all seats taken, spread over the gateways.
func startCrowds(addrs []string, groups []crowdSeat) (_ crowds, err error) {
	total := 0
	for _, g := range groups {
		total += g.Seats
	}
	cs := make(crowds, (total+perProcess-1)/perProcess)
	defer func() {
		if err != nil {
			cs.stop()
		}
	}()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	for i := range cs {
		cmd := exec.Command(self, "crowd")
		cmd.Stderr = os.Stderr
		in, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		cs[i] = &crowdProcess{cmd: cmd, in: in, orders: json.NewEncoder(in), answers: json.NewDecoder(out)}
	}
	failed := make([]error, len(cs))
	var opening sync.WaitGroup
	for i, c := range cs {
		opening.Go(func() {
			_, failed[i] = c.ask(crowdOrder{Open: &crowdOpen{Addrs: addrs, Groups: groups, Share: i, Of: len(cs)}})
		})
	}
	opening.Wait()
	return cs, errors.Join(failed...)
}

func (c *crowdProcess) ask(order crowdOrder) (state crowdState, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.orders.Encode(order); err != nil {
		return state, err
	}
	if err := c.answers.Decode(&state); err != nil {
		return state, fmt.Errorf("a process of followers: %w", err)
	}
	if state.Error != "" {
		err = errors.New(state.Error)
	}
	return state, err
}

// churn has so many followers per second leave and come back.
func (cs crowds) churn(rate float64) error {
	share := rate / float64(len(cs))
	for _, c := range cs {
		if _, err := c.ask(crowdOrder{Churn: &share}); err != nil {
			return err
		}
	}
	return nil
}

// tell returns where all the followers are together.
func (cs crowds) tell(want []expected) (sum crowdState, err error) {
	for _, c := range cs {
		s, err := c.ask(crowdOrder{Tell: want})
		if err != nil {
			return sum, err
		}
		sum.Open += s.Open
		sum.Away += s.Away
		sum.Behind += s.Behind
		sum.Beyond += s.Beyond
		sum.Delivered += s.Delivered
		sum.Returned += s.Returned
		sum.Cut += s.Cut
	}
	return sum, nil
}

// arrived waits until everybody is there and has got all that is expected.
func (cs crowds) arrived(want []expected) (crowdState, error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		s, err := cs.tell(want)
		if err != nil {
			return s, err
		}
		if s.Away == 0 && s.Behind == 0 && s.Beyond == 0 {
			return s, nil
		}
		if time.Now().After(deadline) {
			return s, fmt.Errorf("followers away %d, behind %d, beyond what was sent %d", s.Away, s.Behind, s.Beyond)
		}
	}
}

// stop ends the processes and waits for their end.
func (cs crowds) stop() {
	for _, c := range cs {
		if c != nil {
			_ = c.in.Close()
			_ = c.cmd.Wait()
		}
	}
}
