//! Views: which series a record counts into.

/// A view of the flow metrics.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum View {
    /// By interface and direction.
    Interface,
    /// By exporter.
    Exporter,
    /// By transport and service of the server's port.
    Application,
    /// By names of `NETFLOW_NETWORKS`.
    Network,
    /// By autonomous systems.
    As,
    /// By countries.
    Country,
    /// Requests between networks.
    ServiceGraph,
    /// The heaviest conversations, sources and destinations of the last minute.
    Top,
    /// What sFlow agents count of their interfaces.
    SflowCounters,
}

impl View {
    /// Every view.
    pub const ALL: [Self; 9] = [
        Self::Interface,
        Self::Exporter,
        Self::Application,
        Self::Network,
        Self::As,
        Self::Country,
        Self::ServiceGraph,
        Self::Top,
        Self::SflowCounters,
    ];

    /// The word of `NETFLOW_METRICS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Exporter => "exporter",
            Self::Application => "application",
            Self::Network => "network",
            Self::As => "as",
            Self::Country => "country",
            Self::ServiceGraph => "service_graph",
            Self::Top => "top",
            Self::SflowCounters => "sflow_counters",
        }
    }

    /// Its series are counters of bytes, packets and flows of records.
    pub(crate) const fn counts_records(self) -> bool {
        !matches!(self, Self::ServiceGraph | Self::Top | Self::SflowCounters)
    }
}

/// A set of views.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Views(u16);

const fn set(views: &[View]) -> u16 {
    let (mut set, mut at) = (0, 0);
    while at < views.len() {
        set |= 1 << views[at] as u16;
        at += 1;
    }
    set
}

impl Views {
    /// No view: nothing is counted.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// No record counts into a view but `interface`.
    #[inline]
    pub(crate) const fn is_only_interface(self) -> bool {
        self.0 & !set(&[View::Interface, View::SflowCounters]) == 0
    }

    /// Records count into series of a view besides `interface`.
    #[inline]
    pub(crate) const fn has_more_series(self) -> bool {
        self.0 & !set(&[View::Interface, View::SflowCounters, View::Top]) != 0
    }

    /// Whether a view is chosen.
    #[must_use]
    pub const fn contains(self, view: View) -> bool {
        self.0 & 1 << view as u16 != 0
    }

    /// Those that are chosen, in the order of [`View::ALL`].
    pub fn iter(self) -> impl Iterator<Item = View> {
        View::ALL
            .into_iter()
            .filter(move |view| self.contains(*view))
    }
}

impl FromIterator<View> for Views {
    fn from_iter<T: IntoIterator<Item = View>>(views: T) -> Self {
        let views = views.into_iter();
        Self(views.fold(0, |set, view| set | 1 << view as u16))
    }
}
