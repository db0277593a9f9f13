"""Teaching a corrector: sessions are recorded click by click, then it learns from what was recorded."""
