void registry_add(void);
int registry_count(void); /* how often it was added to */
