package lifecycle

import (
	"crypto/sha256"
	"encoding/binary"
)

// Reported names a report that ended an attempt. Whoever made it may not have got the answer and
// make it again: the same report of the same attempt changes nothing then, and is no error. The
// zero value is no report.
type Reported struct {
	Attempt int    // 0 if the report did not say, which is never taken for a repetition
	Digest  string // of what it said
}

// digestSize is how much of a digest is kept: reports of one attempt only are told apart.
const digestSize = 8

func (r *Request) reported(report Reported) {
	if r.Reported = report; report.Attempt == 0 {
		r.Reported = Reported{}
	}
}

func (c Succeed) report() Reported {
	if c.Result == nil {
		return reportOf(c.Attempt, nil, "complete")
	}
	return reportOf(c.Attempt, c.Result.Data, "succeed", c.Result.Type)
}

// report leaves the delay out, which the service may have chosen.
func (c Fail) report() Reported {
	kind := "fail"
	if c.Retry {
		kind = "retry"
	}
	return reportOf(c.Attempt, nil, kind, c.Failure.Code, c.Failure.Message, c.Failure.Detail, c.Failure.Trace)
}

// report leaves the delay out, as that of Fail does.
func (c Release) report() Reported { return reportOf(c.Attempt, nil, "release") }

func (c Ask) report() Reported {
	return reportOf(c.Attempt, nil, "ask", c.Question.Name, c.Question.Message, string(c.Question.Schema), string(c.Question.Default))
}

// reportOf hashes what a report says, each part behind its length.
func reportOf(attempt int, content []byte, said ...string) Reported {
	if attempt == 0 {
		return Reported{Digest: "none"} // which equals nothing that is kept
	}
	hash := sha256.New()
	var size [8]byte
	for _, part := range said {
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		hash.Write(size[:])
		hash.Write([]byte(part))
	}
	hash.Write(content)
	return Reported{attempt, string(hash.Sum(nil)[:digestSize])}
}
