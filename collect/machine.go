package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"

	"github.com/weir-metrics/weir/schemas"
)

// Machine reads the machine that it runs on. All of its series have the label host:
//
//	up                                     1
//	cpu.usage                              of all cores, percent, 0 to 100, since the last reading
//	cpu.usage_core{cpu="0"}                of one core, likewise
//	load.1  load.5  load.15
//	mem.total  mem.used  mem.available     bytes
//	mem.used_percent
//	disk.total  disk.used  {path="/"}      bytes
//	disk.used_percent{path="/"}
//	disk.read_bytes  disk.write_bytes  {device="sda"}             counters
//	net.bytes_sent  net.bytes_recv  {interface="eth0"}            counters
//	net.errors_in  net.errors_out  net.drops_in  net.drops_out    counters
//
// Its methods are safe for concurrent use.
type Machine struct {
	host string

	mu    sync.Mutex
	total []cpu.TimesStat // at the last reading
	cores []cpu.TimesStat
}

// NewMachine returns a reader whose series have the label host, or the machine's own name if host
// is empty. It returns an error if it cannot find that name.
func NewMachine(host string) (*Machine, error) {
	if host == "" {
		var err error
		if host, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("the machine's name: %w", err)
		}
	}
	return &Machine{host: host}, nil
}

// Read reads everything as of now. What cannot be read is missing, and the error tells why; the
// rest is returned with it. The first reading has no cpu.usage.
func (m *Machine) Read(ctx context.Context, now time.Time) ([]schemas.Sample, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &reading{host: m.host, timeMS: now.UnixMilli()}
	r.add("up", "", "", 1)
	m.readCPU(ctx, r)
	readMemory(ctx, r)
	readDisks(ctx, r)
	readNetwork(ctx, r)
	return r.samples, errors.Join(r.errs...)
}

// reading gathers samples of one moment.
type reading struct {
	host    string
	timeMS  int64
	samples []schemas.Sample
	errs    []error
}

// add adds a sample with the label host and, if name is not "", one more label.
func (r *reading) add(metric, name, value string, v float64) {
	labels := schemas.Labels{{Name: "host", Value: r.host}}
	if name != "" {
		labels = append(labels, schemas.Label{Name: name, Value: value})
		labels.Sort()
	}
	r.samples = append(r.samples, schemas.Sample{Series: schemas.Series{Metric: metric, Labels: labels}, TimeMS: r.timeMS, Value: v})
}

// failed records an error, and reports whether there is one.
func (r *reading) failed(what string, err error) bool {
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", what, err))
	}
	return err != nil
}

func (m *Machine) readCPU(ctx context.Context, r *reading) {
	total, err := cpu.TimesWithContext(ctx, false)
	if !r.failed("cpu", err) {
		if len(m.total) == len(total) && len(total) > 0 {
			r.add("cpu.usage", "", "", busyPercent(m.total[0], total[0]))
		}
		m.total = total
	}
	cores, err := cpu.TimesWithContext(ctx, true)
	if !r.failed("cpu cores", err) {
		if len(m.cores) == len(cores) { // otherwise a core was switched on or off
			for i, c := range cores {
				r.add("cpu.usage_core", "cpu", strings.TrimPrefix(c.CPU, "cpu"), busyPercent(m.cores[i], c))
			}
		}
		m.cores = cores
	}
	avg, err := load.AvgWithContext(ctx)
	if !r.failed("load", err) {
		r.add("load.1", "", "", avg.Load1)
		r.add("load.5", "", "", avg.Load5)
		r.add("load.15", "", "", avg.Load15)
	}
}

// busyPercent is the share of the time between two readings in which the CPU was neither idle nor
// waiting for a disk. Guest time is part of user time.
func busyPercent(from, to cpu.TimesStat) float64 {
	busy := to.User + to.System + to.Nice + to.Irq + to.Softirq + to.Steal -
		(from.User + from.System + from.Nice + from.Irq + from.Softirq + from.Steal)
	idle := to.Idle + to.Iowait - (from.Idle + from.Iowait)
	busy, idle = max(0, busy), max(0, idle) // some kernels count iowait backwards
	if busy+idle == 0 {
		return 0
	}
	return 100 * busy / (busy + idle)
}

func readMemory(ctx context.Context, r *reading) {
	v, err := mem.VirtualMemoryWithContext(ctx)
	if r.failed("memory", err) {
		return
	}
	r.add("mem.total", "", "", float64(v.Total))
	r.add("mem.used", "", "", float64(v.Used))
	r.add("mem.available", "", "", float64(v.Available))
	r.add("mem.used_percent", "", "", v.UsedPercent)
}

func readDisks(ctx context.Context, r *reading) {
	partitions, err := disk.PartitionsWithContext(ctx, false)
	r.failed("disks", err)
	paths := []string{"/"} // in a container, / is often not a partition
	seen := make(map[string]bool)
	for _, p := range partitions {
		// Containers mount one device in many places: the first counts.
		if !seen[p.Device] && p.Mountpoint != "/" {
			paths = append(paths, p.Mountpoint)
		}
		seen[p.Device] = true
	}
	for _, path := range paths {
		u, err := disk.UsageWithContext(ctx, path)
		if r.failed("disk "+path, err) || u.Total == 0 {
			continue
		}
		r.add("disk.total", "path", path, float64(u.Total))
		r.add("disk.used", "path", path, float64(u.Used))
		r.add("disk.used_percent", "path", path, u.UsedPercent)
	}
	io, err := disk.IOCountersWithContext(ctx)
	if r.failed("disk counters", err) {
		return
	}
	for device, c := range io {
		r.add("disk.read_bytes", "device", device, float64(c.ReadBytes))
		r.add("disk.write_bytes", "device", device, float64(c.WriteBytes))
	}
}

func readNetwork(ctx context.Context, r *reading) {
	interfaces, err := net.IOCountersWithContext(ctx, true)
	if r.failed("network", err) {
		return
	}
	for _, c := range interfaces {
		for _, v := range []struct {
			metric string
			n      uint64
		}{
			{"net.bytes_sent", c.BytesSent}, {"net.bytes_recv", c.BytesRecv},
			{"net.errors_in", c.Errin}, {"net.errors_out", c.Errout}, {"net.drops_in", c.Dropin}, {"net.drops_out", c.Dropout},
		} {
			r.add(v.metric, "interface", c.Name, float64(v.n))
		}
	}
}
