/* SPDX-License-Identifier: MIT */
/*
 * Tidepool from C++17: objects with constructors and destructors, by typed hooks;
 * an exception of theirs ends in the hook and comes out of the get as an errno, or
 * as a broken object; one of the program's passes through a scope that holds an
 * object, which goes back. And the stress of the other programs, in C++.
 *
 *     link_cxx FILE    malloc is to be FILE's
 *
 * link_cxx.sh builds and runs it.
 */
#include "link.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace
{

/* A pool of T's: T(), reset() and ~T() are its hooks, which are noexcept as such. */
template <typename T> class typed_pool
{
      public:
	struct putter {
		tide_pool *pool;
		void operator()(T *obj) const noexcept
		{
			tide_put(pool, obj);
		}
	};
	using owner = std::unique_ptr<T, putter>;

	explicit typed_pool(const char *name)
	{
		tide_pool_config config = {};

		config.config_bytes = sizeof(config);
		config.name = name;
		config.object_bytes = sizeof(T);
		config.align_bytes = alignof(T) < 16 ? 16 : alignof(T);
		config.init = init;
		config.reset = reset;
		config.fini = fini;
		pool_ = tide_pool_create(&config);
		if (pool_ == nullptr)
			throw std::runtime_error(std::strerror(errno));
	}
	typed_pool(const typed_pool &) = delete;
	typed_pool &operator=(const typed_pool &) = delete;
	~typed_pool()
	{
		STRESS_CHECK(tide_pool_destroy(pool_) == 0, "destroy");
	}

	/* Empty where there is none, with the reason in errno. */
	owner get() noexcept
	{
		return owner(static_cast<T *>(tide_get(pool_)), putter{ pool_ });
	}
	tide_pool *raw() const noexcept
	{
		return pool_;
	}
	tide_pool_stats stats() const noexcept
	{
		tide_pool_stats stats;

		tide_pool_stats_read(pool_, &stats, sizeof(stats));
		return stats;
	}

      private:
	static int init(void *obj, void *) noexcept
	{
		try {
			new (obj) T();
			return 0;
		} catch (const std::bad_alloc &) {
			return -ENOMEM;
		} catch (...) {
			return -ECANCELED;
		}
	}
	static int reset(void *obj, size_t, void *) noexcept
	{
		try {
			static_cast<T *>(obj)->reset();
			return 0;
		} catch (...) {
			return 1; /* broken: it gets its destructor */
		}
	}
	static void fini(void *obj, void *) noexcept
	{
		static_cast<T *>(obj)->~T();
	}
	static_assert(std::is_nothrow_destructible_v<T>, "fini has nowhere to report to");

	tide_pool *pool_ = nullptr;
};

std::atomic<unsigned> calls, made, unmade, failed_inits, no_memory, failed_resets;

class request
{
      public:
	request() : name_("nobody's, and too long for the object itself")
	{
		unsigned call = calls++;

		if (call % 7 == 3) {
			failed_inits++;
			throw std::runtime_error("init");
		}
		if (call % 7 == 5) {
			failed_inits++;
			no_memory++;
			throw std::bad_alloc();
		}
		made++;
	}
	~request()
	{
		unmade++;
	}
	void fill(unsigned id)
	{
		name_ = "request number " + std::to_string(id) + ", of this tenant and no other";
		parts_.assign(id % 50, id);
	}
	bool is_pristine() const
	{
		return name_ == "nobody's, and too long for the object itself" && parts_.empty();
	}
	void reset()
	{
		if (parts_.size() == 41) {
			failed_resets++;
			throw std::runtime_error("reset");
		}
		name_ = "nobody's, and too long for the object itself";
		parts_.clear();
	}

      private:
	alignas(128) std::string name_;
	std::vector<unsigned> parts_;
};

std::atomic<unsigned> empty_gets, cancelled_gets;

typed_pool<request>::owner
get(typed_pool<request> &pool)
{
	auto obj = pool.get();

	if (!obj) {
		STRESS_CHECK(errno == ENOMEM || errno == ECANCELED, "%s", std::strerror(errno));
		cancelled_gets += errno == ECANCELED;
		empty_gets++;
	}
	return obj;
}

/* One object, whose scope is left by an exception now and then. */
void
serve(typed_pool<request> &pool, unsigned id)
{
	auto obj = get(pool);

	if (!obj)
		return;
	STRESS_CHECK(reinterpret_cast<uintptr_t>(obj.get()) % alignof(request) == 0, "alignment");
	STRESS_CHECK(obj->is_pristine(), "another tenant's");
	obj->fill(id);
	if (id % 5 == 0)
		throw id;
}

void
serve_many(typed_pool<request> &pool, unsigned first, unsigned n)
{
	for (unsigned id = first; id < first + n; id++) {
		try {
			serve(pool, id);
		} catch (unsigned thrown) {
			STRESS_CHECK(thrown == id, "another exception");
		}
	}
}

void
use_typed_hooks()
{
	typed_pool<request> pool("requests");
	std::vector<std::thread> threads;

	/* Some objects at once, so that there are many inits. */
	for (unsigned i = 0; i < 8; i++)
		threads.emplace_back([&pool, i] {
			std::vector<typed_pool<request>::owner> held;

			for (unsigned n = 0; n < 60; n++)
				held.push_back(get(pool));
			held.clear();
			serve_many(pool, i * 10000, 2000);
		});
	for (auto &thread : threads)
		thread.join();

	auto stats = pool.stats();
	STRESS_CHECK(tide_check() == 0, "tide_check");
	STRESS_CHECK(stats.live_objects == 0, "%" PRIu64 " are live", stats.live_objects);
	STRESS_CHECK(stats.created == made && stats.released == unmade,
		     "constructors and destructors");
	STRESS_CHECK(stats.failed_gets == failed_inits && empty_gets == failed_inits,
		     "%" PRIu64 " failed gets, %u exceptions", stats.failed_gets,
		     failed_inits.load());
	STRESS_CHECK(stats.broken == failed_resets && failed_resets > 0,
		     "%" PRIu64 " broken, %u exceptions", stats.broken, failed_resets.load());
	STRESS_CHECK(no_memory > 0 && cancelled_gets > 0 &&
			     failed_inits == no_memory + cancelled_gets,
		     "too few exceptions: %u, %u of memory; %u gets cancelled", failed_inits.load(),
		     no_memory.load(), cancelled_gets.load());
}

struct numbers {
	std::vector<int> list;

	void reset()
	{
		list.clear();
	}
};

/* A ref in place of a pointer in somebody's list. */
void
use_refs()
{
	typed_pool<numbers> pool("numbers");
	tide_ref ref = 0;

	STRESS_CHECK(tide_pin(pool.raw(), ref) == nullptr && errno == ESTALE, "0 is a ref");
	{
		auto obj = pool.get();

		obj->list.assign(1000, 7);
		ref = tide_ref_of(pool.raw(), obj.get());
		auto *pinned = static_cast<numbers *>(tide_pin(pool.raw(), ref));
		STRESS_CHECK(pinned == obj.get() && pinned->list.size() == 1000, "pin");
		tide_unpin(pool.raw(), pinned);
	}
	STRESS_CHECK(!tide_ref_is_live(pool.raw(), ref), "its scope is over");
}

} // namespace

int
main(int argc, char **argv)
{
	static const link_api api = LINK_API_DIRECT;

	if (argc != 2)
		return 2;
	stress_start(1, argv);
	if (!link_malloc_is(argv[1]))
		return EXIT_FAILURE;
	use_typed_hooks();
	use_refs();
	link_stress_run(&api);
	return link_malloc_is(argv[1]) ? EXIT_SUCCESS : EXIT_FAILURE;
}
