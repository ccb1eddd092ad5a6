//go:build linux

// Command bench measures ocipkg against other tools on one machine, in one run, and prints one table of ratios. It is
// run by `make bench`; docs/performance.md holds a result and says how to read it.
//
// What is compared runs in turns, not one after the other, and the shortest of all turns counts: a busy machine slows
// down whoever is on, and only the minimum is a property of the program. Nothing is deleted between the turns, because
// a file system that has just deleted thousands of files makes new ones many times slower for a while. Bazel's builds, of
// which there are few and long ones, are compared turn by turn: see there.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	turns := flag.Int("turns", 5, "how often everything is run")
	only := flag.String("only", "", "run the jobs alone whose names hold this")
	flag.Parse()
	if *turns < 1 {
		fmt.Fprintln(os.Stderr, "bench: -turns is 1 or more")
		os.Exit(2)
	}
	if err := run(*turns, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(turns int, only string) error {
	out, err := filepath.Abs(filepath.Join(".out", "bench"))
	if err != nil {
		return err
	}
	b, err := prepare(out, turns)
	if err != nil {
		return err
	}
	defer b.close()
	fmt.Printf("%s, %d CPUs, %s; the sample has %d files and %.0f MB, as layers %.0f MB (zstd) and %.0f MB (gzip); %d turns\n\n",
		runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), runtime.Version(), b.files, mega(b.bytes), mega(size(b.zstd.layers)), mega(size(b.gzip.layers)), turns)
	fmt.Println("| job | measured | must be | |")
	fmt.Println("|---|---|---|---|")
	missed := 0
	for _, j := range jobs {
		if !strings.Contains(j.name, only) {
			continue
		}
		rows, err := j.run(b)
		if err != nil {
			return fmt.Errorf("%s: %w", j.name, err)
		}
		for _, r := range rows {
			mark := "yes"
			switch {
			case r.bound == "":
				mark = ""
			case !r.met:
				mark = "**no**"
				missed++
			}
			fmt.Printf("| %s | %s | %s | %s |\n", r.what, r.measured, r.bound, mark)
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d of the bounds were missed", missed)
	}
	return nil
}

// row is one line of the table.
type row struct {
	what, measured, bound string // no bound: for comparison alone
	met                   bool
}

// atLeast is a row whose bound is a ratio; 0 is none.
func atLeast(what string, ratio, bound float64, detail string) row {
	if bound == 0 {
		return row{what: what, measured: fmt.Sprintf("%.2f times%s", ratio, detail)}
	}
	return row{what, fmt.Sprintf("%.2f times%s", ratio, detail), fmt.Sprintf("at least %.1f", bound), ratio >= bound}
}

func atMost(what string, ratio, bound float64, detail string) row {
	return row{what, fmt.Sprintf("%.2f times%s", ratio, detail), fmt.Sprintf("at most %.1f", bound), ratio <= bound}
}

func mega(n int64) float64 { return float64(n) / 1e6 }

func seconds(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// contestant is one way of doing a job. Its function gets a folder of its own for each turn, and returns what counts.
type contestant struct {
	name string
	do   func(dir string) (time.Duration, error)
}

// short is how many turns of a job of milliseconds there are for each of the others: whatever else the machine does for a
// moment is a large part of such a turn.
const short = 4

// race runs the contestants in turns and returns the shortest time of each.
func (b *bench) race(turns int, contestants ...contestant) ([]time.Duration, error) {
	best := make([]time.Duration, len(contestants))
	for i := range best {
		best[i] = math.MaxInt64
	}
	for range turns {
		for i, c := range contestants {
			dir, err := b.fresh()
			if err != nil {
				return nil, err
			}
			if err := settle(); err != nil {
				return nil, err
			}
			took, err := c.do(dir)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			best[i] = min(best[i], took)
		}
	}
	return best, nil
}

// settle has done before a turn what would else be done in it, or not.
func settle() error {
	unix.Sync() // what the one before has left to be written is not this one's
	return touchMemory()
}

// touchMemory has the system hand out two gigabytes and gives them back. A virtual machine gets its memory from its host
// a page at a time, when the page is first used, and may have to give it back when it is free: a file's page in the
// cache then costs many times what it costs on memory that was used a moment ago, and a turn measures which it got.
func touchMemory() error {
	memory, err := unix.Mmap(-1, 0, 2<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touch memory: %w", err)
	}
	return unix.Munmap(memory)
}

// fresh makes a folder for one turn.
func (b *bench) fresh() (string, error) {
	b.count++
	dir := filepath.Join(b.turnsDir, fmt.Sprint(b.count))
	return dir, os.MkdirAll(dir, 0o755)
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// spread lets ext4 put each folder in dir into a part of the disk of its own (FS_TOPDIR_FL), where it can: otherwise the
// folders of all turns share one with what the last run has deleted, and each new file is looked for among those.
func spread(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const topDir = 0x00020000
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return nil // not every file system has flags
	}
	_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topDir))
	return nil
}
